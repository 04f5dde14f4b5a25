"""ExecuTorch, the runtime of PyTorch for small devices."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eyas.deploy.runtimes.base import LOGITS, Array, Runtime, Session
from eyas.errors import ExportError

_TALKERS = ("executorch", "torchao", "torch.utils._pytree")


class ExecutorchRuntime(Runtime):
    """ExecuTorch with the operators that its Python package holds, XNNPACK's among them.

    Its threads are those of the process: a session that is opened with another number changes them for all.
    """

    kind: Literal["executorch"] = "executorch"
    suffixes: ClassVar[tuple[str, ...]] = (".pte",)
    package: ClassVar[str] = "executorch"
    module: ClassVar[str] = "executorch.runtime"
    extra: ClassVar[str] = "executorch"

    def _session(self, path: Path, threads: int) -> Session:
        with quiet():  # it says of itself that it is experimental
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime as Executorch
            from executorch.runtime import Verification

        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
        program = Executorch.get().load_program(path, verification=Verification.Minimal)
        try:
            return ExecutorchSession(program.load_method("forward"))
        except RuntimeError as error:
            lacking = missing_operators(path, portable_lib._get_operator_names())
            if not lacking:
                raise
            msg = (
                f"{self.version()} lacks operator {', '.join(lacking)} of {path.name}; the file does not tell the "
                "layer: compute it by other operators, or export for another runtime"
            )
            raise ExportError(msg) from error


class ExecutorchSession(Session):
    """A program's method ``forward``."""

    def __init__(self, method: Any) -> None:
        self._method = method
        image = method.metadata.input_tensor_meta(0)
        self.input_shape = tuple(image.sizes())
        self.input_dtype = np.dtype(np.float32)
        count = method.metadata.num_outputs()
        self.output_names = (LOGITS, *(f"output_{number}" for number in range(1, count)))

    def run(self, images: Array) -> list[Array]:
        """All outputs for one batch, copied out of the program's memory."""
        answers = self._method.execute([torch.from_numpy(np.ascontiguousarray(images))])
        return [answer.numpy().copy() for answer in answers]


def missing_operators(path: Path, known: list[str]) -> list[str]:
    """Operators that a program calls and that are not among those ``known``."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    plans = deserialize_pte_binary(path.read_bytes()).program.execution_plan
    called = {".".join(filter(None, (one.name, one.overload))) for plan in plans for one in plan.operators}
    return sorted(called - set(known))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what ExecuTorch and torchao say below an error while they are imported and at work."""
    levels = {name: logging.getLogger(name).level for name in _TALKERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
