"""The errors a user can meet, as one tree.

::

    EyasError                    something the message explains and the user can act on
    ├── BadInputError            what was given cannot be used: exit status 2, never retried
    │   ├── ParameterError       a field of params.yaml, unknown, mistyped or out of range
    │   ├── DataError            an image, a table, a split that is not what was promised
    │   │   └── ChecksumError    bytes that differ from their sha256
    │   ├── CheckpointError      weights of another architecture, or a file that is none
    │   ├── TraceError           a network that cannot be captured
    │   ├── ExportError          a network that no exporter of a chosen format takes
    │   ├── PlanError            widths or kept channels that do not fit the search space
    │   └── BudgetError          a budget no candidate can meet; states the reachable range
    ├── StorageError             a remote that failed after its retries
    ├── ParityError              an exported or sliced network computes something else
    ├── BusyError                another run holds the workspace
    ├── RefusedError             a gate said no: exit status 3
    └── MissingExtraError        an optional dependency is not installed; says how to install it

A message says what was given, what is allowed, and what to do.
"""


class EyasError(Exception):
    """Base of all errors that explain themselves to a user."""

    exit_status = 1


class BadInputError(EyasError, ValueError):
    """What was given cannot be used; trying again cannot help."""

    exit_status = 2


class ParameterError(BadInputError):
    """A parameter is unknown, mistyped or out of range."""


class DataError(BadInputError):
    """An image, a table or a split is not what was promised."""


class ChecksumError(DataError):
    """Bytes differ from the sha256 that was recorded for them."""


class CheckpointError(BadInputError):
    """Weights do not fit the architecture, or the file holds none."""


class TraceError(BadInputError):
    """A network cannot be captured."""


class ExportError(BadInputError):
    """A network cannot be written in a format."""


class PlanError(BadInputError):
    """Widths or kept channels do not fit the search space."""


class BudgetError(BadInputError):
    """No candidate can meet the budget; the message states the reachable range."""


class StorageError(EyasError):
    """A remote failed after its retries."""


class ParityError(EyasError):
    """An exported or sliced network does not compute what it should."""


class BusyError(EyasError):
    """Another run holds the workspace."""


class RefusedError(EyasError):
    """A gate said no."""

    exit_status = 3


class MissingExtraError(EyasError):
    """An optional dependency is not installed."""


def one_line(error: BaseException) -> str:
    """What a library's error says, in one line that is no longer than a message may be."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"
