"""Fixtures that every test may use."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flows import environment

environment.configure()  # before a test imports Prefect, which would make a folder in the user's home


@pytest.fixture(autouse=True)
def _same_torch_for_every_test() -> None:
    """One thread (many small tests share two cores) and torch's own kernels, whatever the test before has set."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture
def kept_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that runs the command: it takes over search path and folder of its process, here pytest's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(Path.cwd())


@pytest.fixture(autouse=True)
def _kept_signals() -> Iterator[None]:
    """Whatever calls the command's own entry takes over the signals of pytest; the next test has them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that EYAS_DATA names; the test is skipped without it."""
    folder = os.environ.get("EYAS_DATA")
    if not folder:
        pytest.skip("EYAS_DATA is not set: it names the folder with CIFAR-10 and pretrained weights")
    if not Path(folder).is_dir():
        pytest.fail(f"EYAS_DATA={folder} is no folder")
    return Path(folder)


@pytest.fixture
def digits_like() -> torch.Tensor:
    """Eight small random images, (8, 1, 8, 8), always the same."""
    return torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
