"""``eyas verify``: every way in which a bundle may have been changed."""

import io
import json
import re
import resource
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from eyas.cli.app import run
from eyas.deploy.bundle.contents import BUNDLE, pack, write_list
from eyas.deploy.bundle.verification import verify_bundle
from eyas.errors import ChecksumError, DataError, ParityError
from eyas.storage.digests import file_sha256
from eyas.storage.disk_space import describe_full_disk
from tests.support.colour_bundle import Made


def test_folder_and_tar_are_as_they_were_made(made: Made) -> None:
    folder, tar = (verify_bundle(place) for place in (made.folder, made.export / "bundle.tar.gz"))
    assert folder == tar
    assert folder.digest == file_sha256(made.folder / "manifest.json")
    assert folder.pairs == 8
    assert 0 < folder.max_difference < 0.01


def test_command_ends_with_0_and_says_what_it_looked_at(
    made: Made, bundle: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    assert run(["verify", str(made.export / "bundle.tar.gz")]) == 0
    told = capsys.readouterr().out
    assert "on its 8 golden pairs ONNX Runtime here answers as PyTorch did where it was made" in told
    assert re.search(r"a probability differs by [\d.e-]+ at most, allowed is 0\.05\n$", told)
    (bundle / "extra.txt").touch()
    assert run(["verify", str(bundle)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {bundle} is not as it was made: extra.txt is not listed; fetch it again"
    ]


def test_a_flipped_byte_in_any_file_is_told(bundle: Path) -> None:
    names = [path.relative_to(bundle).as_posix() for path in sorted(bundle.rglob("*")) if path.is_file()]
    assert {"manifest.json", "README.md", "LICENSE", "predict.py", "classifier.py", "model.onnx"} < set(names)
    for name in names:
        content = (bundle / name).read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            (bundle / name).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(ChecksumError, match=name.replace(".", r"\.")):
                verify_bundle(bundle)
        (bundle / name).write_bytes(content)
    verify_bundle(bundle)


def test_every_byte_of_the_manifest_counts(bundle: Path) -> None:
    path = bundle / "manifest.json"
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 41]) + content[position + 1 :])
        with pytest.raises(ChecksumError):
            verify_bundle(bundle)


def test_all_faults_are_told_at_once(bundle: Path) -> None:
    (bundle / "labels.json").unlink()
    (bundle / "golden/9.png").write_bytes(b"added")
    (bundle / "LICENSE").write_text("mine")
    with pytest.raises(ChecksumError) as caught:
        verify_bundle(bundle)
    told = "labels.json is missing; golden/9.png is not listed; LICENSE was changed"
    assert told in str(caught.value)


def test_other_answers_are_a_fault_though_every_hash_fits(bundle: Path) -> None:
    path = bundle / "golden/expected.json"
    expected = json.loads(path.read_text())
    expected["tolerance"] = 9.0  # a bundle does not say itself how much is allowed
    expected["probabilities"]["0.png"].reverse()
    path.write_text(json.dumps(expected))
    write_list(bundle)
    with pytest.raises(ParityError, match=r"golden/0\.png: a probability is"):
        verify_bundle(bundle)


def test_what_python_leaves_beside_the_script_is_no_fault(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    subprocess.run([sys.executable, str(bundle / "predict.py"), "--check"], check=True, capture_output=True)
    assert len(list((bundle / "__pycache__").iterdir())) == 3
    verify_bundle(bundle)
    (bundle / "__pycache__/other.pyc").write_bytes(b"?")
    with pytest.raises(ChecksumError, match="other.pyc is not listed"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "bundle/../../outside.txt"])
def test_a_path_outside_of_the_folder_is_refused(made: Made, tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(made.folder, "bundle")
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(DataError, match="outside of its folder"):
        verify_bundle(path)
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_link_in_a_tar_and_a_tar_cut_short_are_refused(made: Made, tmp_path: Path) -> None:
    linked, cut = tmp_path / "linked.tar", tmp_path / "cut.tar.gz"
    with tarfile.open(linked, "w") as tar:
        member = tarfile.TarInfo("bundle/labels.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    cut.write_bytes((made.export / "bundle.tar.gz").read_bytes()[:-2000])
    for path, told in ((linked, "a link or a device"), (cut, "no complete archive")):
        with pytest.raises(DataError, match=told):
            verify_bundle(path)


def test_what_is_no_bundle_is_said(made: Made, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (empty, tmp_path / "missing", made.folder / "model.onnx", made.folder / "golden"):
        with pytest.raises(DataError, match="is no bundle"):
            verify_bundle(place)


def test_the_tar_of_no_bundle_says_so(tmp_path: Path) -> None:
    (tmp_path / BUNDLE).mkdir()
    with pytest.raises(DataError, match="is no bundle"):
        verify_bundle(pack(tmp_path / BUNDLE, tmp_path / "bundle.tar.gz"))


def test_no_space_left_is_told_and_leaves_no_half_of_a_tar(made: Made, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    shutil.copytree(made.folder, tmp_path / BUNDLE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            pack(tmp_path / BUNDLE, tmp_path / "bundle.tar.gz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "file too large" in str(describe_full_disk(caught.value))
    assert [path.name for path in tmp_path.iterdir()] == [BUNDLE]
