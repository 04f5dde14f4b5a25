import shutil
from pathlib import Path

import pytest

from tests.support.colour_bundle import Made, make_colours


@pytest.fixture(autouse=True)
def _bundles_stay_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python leaves nothing beside the scripts that it runs."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle with the preprocessing in its graph."""
    return make_colours(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def made_as_data(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle that leaves preprocessing to Pillow: a shorter edge of 20, then a crop."""
    return make_colours(tmp_path_factory.mktemp("data"), in_graph=False, resize=20)


@pytest.fixture(scope="session")
def made_adaptable(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle whose statistics the device may replace."""
    return make_colours(tmp_path_factory.mktemp("adaptable"), adaptable=True)


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made.folder, tmp_path / "bundle"))
