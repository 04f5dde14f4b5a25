"""What a report is about, in a line: network, data, budget, as in ``resnet8 on digits · 50 % MACs``."""

import re
from collections.abc import Mapping
from typing import Any

from eyas.networks.architecture_record import ArchitectureRecord
from eyas.operations.report.results import Results
from eyas.operations.run_name import budget_words
from eyas.storage import redact


def page_title(results: Results, params: Mapping[str, Any]) -> str:
    """The title of a profile's report; ``params`` are all parameters, as plain values."""
    about = f"{network_name(results.architecture)} on {data_name(results.manifest)}"
    budget = params.get("sample", {}).get("budget") or {}
    limits = {metric: value for metric, value in budget.items() if value is not None}
    return f"{about} · {budget_words(limits)}" if limits else about


def network_name(architecture: ArchitectureRecord) -> str:
    """The dense network's: its ``name`` among this project's, else its factory."""
    return str(architecture.arguments.get("name", architecture.architecture))


def data_name(manifest: Mapping[str, Any]) -> str:
    """Of a data set, by where its training images came from: ``digits``; of a path or an address its last two parts."""
    address = redact(str(manifest["source"].get("train", ""))).removeprefix("builtin:")
    place = re.sub(r"^[a-z0-9]+://", "", address)
    return "/".join([part for part in place.split("/") if part not in ("", ".", "..")][-2:]) or "unnamed data"
