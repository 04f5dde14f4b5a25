"""The root of the runtimes: what opens an exported file and runs it."""

import importlib
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.errors import DataError, ExportError, EyasError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

LOGITS = "logits"
"""Name of the judged output in an exported file."""
Array = NDArray[Any]


class Session(ABC):
    """A file that is open in its runtime, with one input and any number of outputs."""

    input_shape: tuple[int | None, ...]
    """(N, C, H, W); None where a size is free."""
    input_dtype: np.dtype[Any]
    output_names: tuple[str, ...]

    @abstractmethod
    def run(self, images: Array) -> list[Array]:
        """All outputs for one batch, in the order of :attr:`output_names`; a file of a fixed batch takes that only."""

    def run_all(self, images: Array, batch_size: int | None = None) -> list[list[Array]]:
        """All outputs, batch by batch; without ``batch_size`` at once, unless the file takes batches of one size."""
        size = self.input_shape[0] or batch_size or len(images)
        return [self._run_some(images[start : start + size]) for start in range(0, len(images), size)]

    def outputs(
        self, images_NCHW: "Tensor", batch_size: int = 256, *, names: Sequence[str] | None = None
    ) -> "dict[str, Tensor]":
        """Outputs by name (all of them without ``names``) for any number of images."""
        import torch

        batches = self.run_all(images_NCHW.numpy(), batch_size)
        columns = dict(zip(self.output_names, zip(*batches, strict=True), strict=True))
        chosen = names or self.output_names
        return {name: joined([torch.as_tensor(array) for array in columns[name]]) for name in chosen}

    def logits(self, images_NCHW: "Tensor", batch_size: int = 256) -> "Tensor":
        """The judged output (the first one where none is called ``logits``): ``(N, K)``."""
        name = LOGITS if LOGITS in self.output_names else self.output_names[0]
        return self.outputs(images_NCHW, batch_size, names=[name])[name]

    def _run_some(self, images: Array) -> list[Array]:
        """One batch; fewer images than the file takes are filled up by the last one."""
        size, count = self.input_shape[0] or len(images), len(images)
        if count == size:
            return self.run(images)
        answers = self.run(np.concatenate([images, np.repeat(images[-1:], size - count, axis=0)]))
        return [answer[:count] for answer in answers]


class Runtime(Component):
    """Opens exported files and runs them on the CPU."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of the files that it takes."""
    package: ClassVar[str] = ""
    """That it cannot do without."""
    module: ClassVar[str] = ""
    """What is imported of it, where that is not the package itself."""
    extra: ClassVar[str] = "pipeline"
    """Of eyas, which brings the package."""
    missing_operator: ClassVar[tuple[str, ...]] = ()
    """Patterns of the error for an operator that it lacks; groups ``operator`` and, where it is told, ``node``."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """The runtime of a file, by the end of its name.

        Raises:
            DataError: no runtime takes such files.
        """
        members = [member for member in cls.members().values() if path.name.endswith(member.suffixes)]
        if not members:
            known = ", ".join(suffix for member in cls.members().values() for suffix in member.suffixes)
            msg = f"{path}: no runtime takes files of this kind; known are {known}"
            raise DataError(msg)
        return members[0]()

    @classmethod
    def installed(cls) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(cls.package) is not None

    @classmethod
    def version(cls) -> str:
        """Its name and version, as in ``onnxruntime 1.31.1``.

        Raises:
            MissingExtraError: it is not installed.
        """
        cls.require_installed()
        return f"{cls.package} {version(cls.package)}"

    @classmethod
    def require_installed(cls) -> None:
        """Refuse to go on without it.

        Raises:
            MissingExtraError: it is not installed; says how to install it.
        """
        if not cls.installed():
            msg = f"{cls.package} is not installed: pip install 'eyas[{cls.extra}]'"
            raise MissingExtraError(msg)

    def load(self) -> None:
        """Import the runtime's package, for whoever must know what a file alone takes."""
        self.require_installed()
        importlib.import_module(self.module or self.package)

    def open(self, path: Path, threads: int = 1) -> Session:
        """Open a file; one thread sums in one order.

        Raises:
            MissingExtraError: the runtime is not installed.
            DataError: there is no such file.
            ExportError: it does not take the file; names the operator that it lacks, and the layer if it is told.
        """
        self.require_installed()
        if not path.is_file():
            msg = f"{path}: there is no such file"
            raise DataError(msg)
        try:
            return self._session(path, threads)
        except EyasError:
            raise
        except Exception as error:  # each runtime raises its own
            raise ExportError(self.refusal(path, error)) from error

    def alternatives(self) -> dict[str, "Runtime"]:
        """The same runtime in other precisions, by a word for each; to be told of beside this one."""
        return {}

    def _session(self, path: Path, threads: int) -> Session:
        raise NotImplementedError(f"{type(self).__name__} does not say how it opens a file")

    def refusal(self, path: Path, error: Exception) -> str:
        """What to tell of a file that it does not take: the operator that it lacks, and the layer if it is told."""
        text = " ".join(str(error).split())
        lacking = next(filter(None, (re.search(pattern, text) for pattern in self.missing_operator)), None)
        if lacking is None:
            return f"{self.version()} does not take {path.name} ({type(error).__name__}: {text:.300})"
        operator = lacking["operator"]
        layer = self._layer(path, operator, lacking.groupdict().get("node"))
        place = f" in {layer}" if layer else ""
        return (
            f"{self.version()} lacks operator {operator}{place} of {path.name}: compute it by other operators, "
            "or export for another runtime"
        )

    def _layer(self, path: Path, operator: str, node: str | None) -> str | None:
        """What the layer of an operator is called, as far as the file tells; ``node`` is what the runtime calls it."""
        del path, operator
        return node


def joined(parts: "Sequence[Tensor]") -> "Tensor":
    """What batches answered as one tensor; numbers that no image has for itself as one each."""
    import torch

    return torch.cat(list(parts)) if parts[0].ndim else torch.stack(list(parts))


AnyRuntime = Annotated[SerializeAsAny[Runtime], BeforeValidator(Runtime.validated)]
