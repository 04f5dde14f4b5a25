"""The documentation as a site: every page is in its contents, and no link leads nowhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "params.yaml", "configs", "docs")


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make site` does."""
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", str(source / "docs"), source, site]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The pages alone."""
    pages = tmp_path / "source"
    pages.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, pages / name)
    return pages


def test_it_builds_without_a_warning(source: Path, tmp_path: Path) -> None:
    done = build(source, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/index.html").exists()
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / "site/docs" / page.with_suffix(".html").name).exists()
        assert f'href="docs/{page.stem}.html"' in (tmp_path / "site/README.html").read_text()


def test_a_link_that_leads_nowhere_fails(source: Path, tmp_path: Path) -> None:
    for page in (source / "docs").glob("*.md"):
        page.unlink()
    (source / "docs/edge.md").write_text("# To the device\n\n[gone](nowhere.md)\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
