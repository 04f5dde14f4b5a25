"""The HTML pages' templates, which share style and charts; whatever a page is given is escaped."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

SHARED = "eyas.operations.report"


def page_templates(*packages: str) -> Environment:
    """Templates of these packages, and those of the report for all."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, SHARED)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
