"""A parameter file as it stands: sections by name, unchecked but for their form."""

from pathlib import Path
from typing import Any

from eyas.config.field_names import field_names
from eyas.config.safe_yaml import load_yaml
from eyas.errors import ParameterError


def read_sections(path: Path) -> dict[str, Any]:
    """A parameter file as it stands, unchecked but for its form.

    Raises:
        ParameterError: the file is missing, is no YAML, or does not hold sections.
    """
    try:
        content = load_yaml(path.read_text(), str(path)) or {}
    except FileNotFoundError as error:
        msg = f"{path} does not exist: give --params FILE, or start in a checkout that holds params.yaml"
        raise ParameterError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ParameterError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold sections ({', '.join(field_names() or ())}), not {type(content).__name__}"
        raise ParameterError(msg)
    return content
