"""A comparison as one HTML file that needs nothing beside it."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from eyas.operations.comparison.accuracy_curve import accuracy_curve
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.comparison.comparison_table import comparison_table

TEMPLATE = "comparison.html.jinja"


def comparison_page(comparison: Comparison, title: str) -> str:
    """The page's text; names are the user's and escaped."""
    environment = Environment(
        loader=PackageLoader("eyas.operations.comparison"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(TEMPLATE).render(
        title=title, table=comparison_table(comparison), curve=accuracy_curve(comparison), notes=comparison.notes
    )
