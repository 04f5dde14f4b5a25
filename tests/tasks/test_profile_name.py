"""Names of workspaces: whatever a file is called, one that a user may give, and one folder per profile."""

import re
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from eyas.errors import ParameterError
from tasks.profile_name import (
    DEFAULT,
    MAX_LENGTH,
    check_name,
    former_folder,
    profile_name,
    profile_of,
    profile_title,
    workspace_folder,
)

FILE_NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=300
).filter(lambda name: name not in {".", ".."})
FIELDS = st.sampled_from(["score.seed", "finetune.epochs", "sample.budget", "finetune.recipe.kind", "register.model"])
OVERRIDES = st.lists(st.builds("{}={}".format, FIELDS, st.text(max_size=40)), max_size=4)


@given(FILE_NAMES, OVERRIDES)
@example("...yaml", [])
@example(".yaml", [])
@example("....yaml", ["fetch.train=../../etc/passwd"])
@example("-rf.yaml", [])
@example("größe.yaml", [])
@example("a\nb.yaml", [])
@example("default.yaml", [])
@example("x" * 300 + ".yaml", ["score.seed=3"])
@example("ß" * 300, [])
def test_a_derived_name_is_one_that_a_user_may_give(file: str, overrides: list[str]) -> None:
    name = profile_name(Path(file), overrides)
    check_name(name)
    assert name == name.lower()
    assert Path("/checkout/workspaces", name).parent == Path("/checkout/workspaces")


@given(FILE_NAMES, FILE_NAMES, OVERRIDES, OVERRIDES)
def test_different_profiles_have_different_names_also_without_capitals(
    first: str, second: str, some: list[str], others: list[str]
) -> None:
    profiles = [
        [normalize("NFC", part) for part in (Path(file).stem, *sorted(items))]
        for file, items in ((first, some), (second, others))
    ]
    assume(profiles[0] != profiles[1])
    assert profile_name(Path(first), some) != profile_name(Path(second), others)


@pytest.mark.parametrize(
    ("file", "overrides", "name"),
    [
        ("configs/cifar10_resnet20.yaml", [], "cifar10_resnet20"),
        ("params.yaml", ["score.seed=3"], "params+score.seed=3"),
        (
            "a.yaml",
            ["sample.budget.macs=0.25", "fetch.max_images=100"],
            "a+fetch.max_images=100+sample.budget.macs=0.25",
        ),
    ],
)
def test_what_can_be_read_stays_readable(file: str, overrides: list[str], name: str) -> None:
    assert profile_name(Path(file), overrides) == name
    assert profile_name(Path(file), overrides[::-1]) == name


@pytest.mark.parametrize(
    ("file", "overrides", "readable"),
    [
        ("mine.yaml", ["finetune.recipe={kind: sgd, learning_rate: 0.1}"], "mine"),
        ("mine.yaml", ["fetch.train=/data/a", "score.seed=1"], "mine+score.seed=1"),
        ("mine.yaml", ["fetch.train=/data/a", "sample.budget.macs=0.5"], "mine+sample.budget.macs=0.5"),
        (
            "a_rather_long_name_of_a_file.yaml",
            ["finetune.epochs=20", "finetune.seed=11", "sample.budget.macs=0.25", "score.seed=3"],
            "a_rather_long_name+sample.budget.macs=0.25+score.seed=3",
        ),
        ("mine.yaml", ["score.seed=1", "score.seed=2"], "mine+score.seed=2"),
        ("x" * 80 + ".yaml", [], "x" * 55),
        ("Mine.yaml", [], "mine"),
        ("mine+score.seed=3.yaml", [], "mine-score.seed-3"),
        ("two words.yaml", [], "two-words"),
        ("...yaml", [], "profile"),
        ("größe.yaml", [], "gr-e"),
    ],
)
def test_what_cannot_be_read_gets_a_hash(file: str, overrides: list[str], readable: str) -> None:
    assert re.fullmatch(rf"{re.escape(readable)}-[0-9a-f]{{8}}", profile_name(Path(file), overrides))


def test_names_are_the_same_on_every_machine() -> None:
    assert profile_name(Path("mine.yaml"), ["finetune.recipe={kind: sgd}"]) == "mine-5038ed03"


def test_of_overrides_of_one_field_the_last_one_counts() -> None:
    once = profile_name(Path("a.yaml"), ["score.seed=1", "score.seed=2"])
    assert profile_name(Path("a.yaml"), ["score.seed=2", "score.seed=1"]) != once
    inner = ["sample.budget={params: 1}", "sample.budget.macs=2"]
    assert profile_name(Path("a.yaml"), inner) != profile_name(Path("a.yaml"), inner[::-1])


def test_one_name_however_the_file_system_spells_its_letters() -> None:
    assert profile_name(Path("gr\u00f6n.yaml"), []) == profile_name(Path("gro\u0308n.yaml"), [])


def test_the_checkouts_own_profile_has_the_default_name_and_no_other_has(tmp_path: Path) -> None:
    own, other = tmp_path / "params.yaml", tmp_path / "default.yaml"
    assert profile_of(tmp_path, own, ["runtime.threads=1"]) == DEFAULT
    assert profile_of(tmp_path, own, ["score.seed=1"]) == "params+score.seed=1"
    assert profile_of(tmp_path, own, [], "mine") == "mine"
    assert profile_of(tmp_path, other, []).startswith("default-")


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "+x", "a b", "a/b", "../../x", "/tmp/x", "ä", "a\n", "x" * 65, "Default"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="--name"):
        check_name(name)


def test_the_longest_name_is_allowed(tmp_path: Path) -> None:
    longest = "x" * MAX_LENGTH
    check_name(longest)
    assert workspace_folder(tmp_path, longest) == tmp_path / "workspaces" / longest


@pytest.mark.parametrize("target", [".", "..", "elsewhere"])
@pytest.mark.parametrize("link", ["workspaces", "workspaces/mine"])
def test_no_link_makes_a_workspace_of_another_folder(tmp_path: Path, link: str, target: str) -> None:
    checkout = tmp_path / "checkout"
    place = checkout / link
    place.parent.mkdir(parents=True)
    (place.parent / "elsewhere").mkdir()
    place.symlink_to(target)
    with pytest.raises(ParameterError, match="a workspace is a folder of its own in the checkout"):
        workspace_folder(checkout, "mine")


def test_a_looped_link_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "workspaces").symlink_to("workspaces")
    with pytest.raises(ParameterError, match=r"workspaces is no folder"):
        workspace_folder(tmp_path, "mine")


@pytest.mark.parametrize("file", ["workspaces", "workspaces/mine"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    with pytest.raises(ParameterError, match=rf"{file} is no folder"):
        workspace_folder(tmp_path, "mine")


def test_names_that_differ_in_capitals_only_are_not_two_workspaces(tmp_path: Path) -> None:
    (tmp_path / "workspaces" / "Mine").mkdir(parents=True)
    assert workspace_folder(tmp_path, "Mine").name == "Mine"
    with pytest.raises(ParameterError, match="only in capitals"):
        workspace_folder(tmp_path, "mine")


def test_a_checkout_behind_a_link_has_workspaces(tmp_path: Path) -> None:
    (tmp_path / "real" / "workspaces").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert workspace_folder(tmp_path / "link", "mine") == tmp_path / "link" / "workspaces" / "mine"


def test_a_former_workspace_is_one_that_is_there_and_is_never_the_checkout(tmp_path: Path) -> None:
    recipe = ["finetune.recipe={kind: sgd}"]
    assert former_folder(tmp_path, Path("mine.yaml"), recipe) is None
    former = tmp_path / "workspaces" / "mine+finetune.recipe=-kind-sgd-"
    former.mkdir(parents=True)
    assert former_folder(tmp_path, Path("mine.yaml"), recipe) == former
    assert former_folder(tmp_path, Path("...yaml"), []) is None
    budget = ["fetch.train=/data/a", "sample.budget.macs=0.5"]
    now = profile_name(Path("mine.yaml"), budget)
    hashed = tmp_path / "workspaces" / f"mine-{now[-8:]}"
    assert former_folder(tmp_path, Path("mine.yaml"), budget) is None
    hashed.mkdir()
    assert former_folder(tmp_path, Path("mine.yaml"), budget) == hashed, "before it said the budget"
    (tmp_path / "workspaces" / "plain").mkdir()
    assert former_folder(tmp_path, Path("plain.yaml"), []) is None


@pytest.mark.parametrize(
    ("name", "arguments", "short", "title"),
    [
        ("default", (), True, "default"),
        ("mine", ("--params", "a/net.yaml", "--set", "score.seed=3", "--name", "mine"), True, "mine"),
        ("net-5d41402a", ("--params", "a/net.yaml", "--set", "score.seed=3"), True, "net, seed=3"),
        ("net-5d41402a", ("--params", "a/net.yaml", "--set", "score.seed=3"), False, "net+score.seed=3"),
        ("net-5d41402a", ("--params", "net.yaml", "--set", f"fetch.train={'x' * 80}"), True, f"net, train={'x' * 36}…"),
        (
            "net+sample.budget.macs=0.5-5d41402a",
            ("--params", "net.yaml", "--set", f"fetch.train={'x' * 80}", "--set", "sample.budget.macs=0.5"),
            True,
            f"net, macs=0.5, train={'x' * 26}…",
        ),
    ],
)
def test_people_read_no_hash(name: str, arguments: tuple[str, ...], short: bool, title: str) -> None:
    assert profile_title(name, arguments, short=short) == title
