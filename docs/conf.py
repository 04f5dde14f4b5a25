"""The documentation as a site: `make site` builds it into site/ with Sphinx, and fails on a link that leads nowhere.

Pages are the Markdown files as they are; only the table of contents, which README has no use for, is added here.
"""

from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
CONTENTS = {
    "Guides": (
        "own_network",
        "choosing",
        "extending",
        "edge",
        "sites",
        "segmentation",
        "detection",
        "unlabelled",
        "adaptation",
        "operate",
    ),
    "How it works": ("../ARCHITECTURE", "pruning", "scoring"),
    "Measured": ("rivals", "experiments"),
    "Reference": ("reference", "api"),
    "Project": ("../CHANGELOG", "../CONTRIBUTING"),
}

project = "eyas"
html_title = "eyas"
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [f"{path.name}/**" for path in ROOT.iterdir() if path.is_dir() and path.name != "docs"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
html_extra_path = ["site"]
"""An index.html that leads to README.html."""


def _with_contents(app: Sphinx, page: str, source: list[str]) -> None:
    del app
    if page == root_doc:
        for caption, names in CONTENTS.items():
            lines = "\n".join(name.removeprefix("../") if name.startswith("..") else f"docs/{name}" for name in names)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def setup(app: Sphinx) -> None:
    """Let README begin the site."""
    app.connect("source-read", _with_contents)
