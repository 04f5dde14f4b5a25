"""PyTorch, for programs that ``torch.export`` wrote."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eyas.deploy.runtimes.base import LOGITS, Array, Runtime, Session


class Pt2Runtime(Runtime):
    """PyTorch's operators, one by one; no compiler is involved."""

    kind: Literal["pt2"] = "pt2"
    suffixes: ClassVar[tuple[str, ...]] = (".pt2",)
    package: ClassVar[str] = "torch"
    missing_operator: ClassVar[tuple[str, ...]] = (
        r"resolve torch\.ops\.(?P<operator>[\w.]+) .*?'nn_module_stack': '(?:[^']*;)?[^,']*,(?P<node>[^,']*),",
        r"resolve torch\.ops\.(?P<operator>[\w.]+)",
    )

    def _session(self, path: Path, threads: int) -> Session:
        with _told_by("torch.export") as messages:
            try:
                return Pt2Session(torch.export.load(path), threads)
            except RuntimeError as error:  # which says: please check the warnings above
                raise RuntimeError("\n".join([*messages, str(error)])) from error


class Pt2Session(Session):
    """An exported program."""

    def __init__(self, program: Any, threads: int) -> None:
        self._module, self._threads = program.module(), threads
        signature = program.graph_signature
        image = next(node.meta["val"] for node in program.graph.nodes if node.name == signature.user_inputs[0])
        self.input_shape = tuple(size if isinstance(size, int) else None for size in image.shape)
        self.input_dtype = torch.empty(0, dtype=image.dtype).numpy().dtype
        self.output_names = (LOGITS, *(f"output_{number}" for number in range(1, len(signature.user_outputs))))

    @torch.inference_mode()
    def run(self, images: Array) -> list[Array]:
        """All outputs for one batch."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            answer = self._module(torch.from_numpy(np.ascontiguousarray(images)))
        finally:
            torch.set_num_threads(before)
        return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else [answer])]


@contextmanager
def _told_by(name: str) -> Iterator[list[str]]:
    """What a logger says meanwhile, instead of printing it."""
    messages: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger(name)
    handler.emit = lambda record: messages.append(handler.format(record))  # type: ignore[method-assign]
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield messages
    finally:
        logger.handlers, logger.propagate = before
