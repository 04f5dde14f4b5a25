"""What a user's folder may hold beside files, and how it is refused in a line."""

import os
import socket

import pytest

from eyas.errors import DataError
from eyas.storage import Store
from eyas.storage.local_files import copy_into, safe_name, walk

pytestmark = pytest.mark.timeout(20)


def fifo(folder) -> None:
    os.mkfifo(folder / "x.png")


def bound_socket(folder) -> None:
    place = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{place}/x.png")
    os.close(place)


NO_FILES = {
    "pipe": (fifo, "is no regular file"),
    "socket": (bound_socket, "is no regular file"),
    "device": (lambda folder: (folder / "x.png").symlink_to("/dev/zero"), "is no regular file"),
    "dangling link": (lambda folder: (folder / "x.png").symlink_to("/nowhere.png"), "a link that leads nowhere"),
    "link to itself": (lambda folder: (folder / "x.png").symlink_to(folder / "x.png"), "a link that leads nowhere"),
    "link to its folder": (lambda folder: (folder / "x").symlink_to(folder), "link back to"),
    "link further up": (lambda folder: (folder / "x").symlink_to(folder.parent), "link back to"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_named(tmp_path, name) -> None:
    make, words = NO_FILES[name]
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    make(folder)
    for bring in (
        lambda: copy_into(str(tmp_path / "data"), tmp_path / "copy"),
        lambda: list(Store(state=tmp_path / "state").entries(str(tmp_path / "data"))),
    ):
        with pytest.raises(DataError, match=rf"cat/x.* {words}") as caught:
            bring()
        assert "\n" not in str(caught.value)


def test_a_pipe_on_its_own_is_named(tmp_path) -> None:
    os.mkfifo(tmp_path / "set.zip")
    with pytest.raises(DataError, match=r"set\.zip is no regular file"):
        copy_into(str(tmp_path / "set.zip"), tmp_path / "copy")


def test_links_between_folders_are_followed(tmp_path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "0.png").write_bytes(b"x")
    (tmp_path / "data" / "lion").symlink_to(tmp_path / "data" / "cat")
    assert [name for name, _ in walk(tmp_path / "data")] == ["cat/0.png", "lion/0.png"]


@pytest.mark.parametrize("name", [b"\xff.png", b"caf\xe9.jpg"])
def test_a_name_that_is_not_utf_8_is_shown_by_its_bytes(tmp_path, name) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("the file system takes no such name")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        list(walk(tmp_path))
    str(caught.value).encode()


def test_names_that_no_file_system_takes_are_refused() -> None:
    assert safe_name("a/" + "x" * 255, "here") == "a/" + "x" * 255
    for name in ("a/" + "x" * 256, "\u00e9" * 128, "x" * 300 + "/0.png"):
        with pytest.raises(DataError, match="more than 255 bytes"):
            safe_name(name, "here")


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_holds_where_it_is_copied_to_is_refused_and_left_alone(tmp_path, linked) -> None:
    (tmp_path / "home" / "project").mkdir(parents=True)
    (tmp_path / "home" / "project" / "params.yaml").write_text("x")
    source = tmp_path / "home"
    if linked:
        source = tmp_path / "data"
        source.mkdir()
        (source / "all").symlink_to(tmp_path / "home" / "project")
    before = sorted(tmp_path.rglob("*"))
    for target in (tmp_path / "home" / "project" / "files", tmp_path / "home" / "project"):
        with pytest.raises(DataError, match=r"holds .*project.*, where its copy would go: give a folder of data alone"):
            copy_into(str(source), target)
    assert sorted(tmp_path.rglob("*")) == before


def test_files_beside_the_copy_are_copied(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.png").write_bytes(b"x")
    copy_into(str(tmp_path / "data"), tmp_path / "data-copy")
    copy_into(str(tmp_path / "data" / "*.png"), tmp_path / "data" / "copy")
    assert [name for name, _ in walk(tmp_path)] == ["data/0.png", "data/copy/0.png", "data-copy/0.png"]
