"""A move of the champion that dies at any of its writes, and two machines that move at once."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from eyas.errors import BusyError
from eyas.operations.tracking import MlflowStore, alias_transaction, lease, model_registry, promotion
from eyas.operations.tracking.status import read_status

WRITES = ("set_", "delete_", "create_", "log_")
NAMES = (f"moved-{number}" for number in count())
DECISION = {"outcome": "promoted", "message": "every gate held", "champion": "2", "forced": ""}
DECISION |= {"gates": [], "numbers": {"accuracy": 0.9}}  # type: ignore[dict-item]


class Killed(BaseException):
    """The process has ended here."""


class Client:
    """Calls through, until its process is killed at a write: before it, or after it took effect."""

    def __init__(self, client: object, kill_at: int = 0, *, took_effect: bool = False) -> None:
        self.client, self.kill_at, self.took_effect = client, kill_at, took_effect
        self.writes: list[str] = []
        self.dead = False
        self.at: tuple[int, Callable[[], None]] = (0, lambda: None)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*arguments: object, **options: object) -> object:
            if self.dead:
                raise Killed
            if name.startswith(WRITES):
                self.writes.append(name)
                if self.at[0] == len(self.writes):
                    self.at[1]()
                self.dead = len(self.writes) == self.kill_at
            if self.dead and not self.took_effect:
                raise Killed
            result = method(*arguments, **options)
            if self.dead:
                raise Killed
            return result

        return call


@dataclass(frozen=True)
class Scene:
    """A model with four versions: 1 and 2 were champions before 3, which was the candidate; 4 is another budget's."""

    store: MlflowStore
    name: str

    def with_client(self, **options: Any) -> tuple[MlflowStore, Client]:
        client = Client(self.store.client, **options)
        return replace(self.store, client=client), client

    def state(self) -> dict[str, object]:
        """All that a rollback or a promotion may leave, but for times and ids."""
        versions = model_registry.list_versions(self.store, self.name)
        kept = (promotion.BEFORE, promotion.OUTCOME, promotion.DECISION, promotion.REASON)
        aliases = {alias: model_registry.get_alias(self.store, self.name, alias) for alias in ("champion", "previous")}
        return {
            "aliases": {alias: version.number for alias, version in aliases.items() if version},
            "candidates": {
                alias: number
                for alias, number in model_registry.list_aliases(self.store, self.name).items()
                if alias not in aliases
            },
            "rolled back": [version.number for version in versions if promotion.ROLLED_BACK in version.tags],
            "tags": [{name: version.tags.get(name) for name in kept} for version in versions],
            "lease": self.store.client.get_registered_model(self.name).tags.get(lease.TAG),
        }

    @property
    def champion(self) -> str:
        version = model_registry.get_alias(self.store, self.name, "champion")
        return version.number if version else ""

    def outcomes(self) -> list[str]:
        return sorted(run.status for run in read_status(self.store, self.name, 50).runs)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for, if these tests run on a server."""
    monkeypatch.setattr(lease, "CONFIRM_SECONDS", 0.0)
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def make_scene(store: MlflowStore) -> Callable[[], Scene]:
    def make() -> Scene:
        name, client = next(NAMES), store.client
        client.create_registered_model(name)
        for number in (1, 2, 3, 4):
            tags = {promotion.BEFORE: str(number - 1)} if number in (2, 3) else {}
            client.create_model_version(name, source="s3://nowhere/model", tags=tags)
        client.set_registered_model_alias(name, "champion", "3")
        client.set_registered_model_alias(name, "previous", "2")
        client.set_registered_model_alias(name, "candidate", "3")
        client.set_registered_model_alias(name, "candidate-macs-50", "3")
        client.set_registered_model_alias(name, "candidate-macs-25", "4")
        client.set_registered_model_alias(name, "tested", "3")
        return Scene(store, name)

    return make


def promote_four(store: MlflowStore, name: str, number: str = "4") -> str:
    version, champion = (model_registry.get_version(store, name, known) for known in (number, "3"))
    return promotion.promote(store, version, champion, DECISION)


def promote_one(store: MlflowStore, name: str) -> str:
    return promote_four(store, name, "1")


def roll_back(store: MlflowStore, name: str) -> object:
    return promotion.roll_back(store, name, "field test failed")


def first_of(writes: list[str]) -> list[int]:
    """Which writes, counted from 1, are not like the one before."""
    return [number for number, (write, last) in enumerate(zip(writes, ["", *writes], strict=False), 1) if write != last]


def deaths(
    run: Callable[[MlflowStore, str], object], make_scene: Callable[[], Scene], only: str = ""
) -> Iterator[tuple[Scene, str]]:
    """The scene after a death before and after each write; the last write that took effect is the end itself."""
    scene = make_scene()
    store, alive = scene.with_client()
    run(store, scene.name)
    assert len(alive.writes) > 6
    for kill_at in first_of(alive.writes):
        for took_effect in (False, True):
            last = kill_at == len(alive.writes)
            if (took_effect and last) or only not in alive.writes[kill_at - 1]:
                continue
            scene = make_scene()
            store, _ = scene.with_client(kill_at=kill_at, took_effect=took_effect)
            with pytest.raises(Killed):
                run(store, scene.name)
            when = "after" if took_effect else "before"
            yield scene, f"killed {when} write {kill_at}, {alive.writes[kill_at - 1]}"


def test_a_rollback_that_died_anywhere_and_is_repeated_is_one_rollback(make_scene: Callable[[], Scene]) -> None:
    clean = make_scene()
    roll_back(clean.store, clean.name)
    assert clean.state()["aliases"] == {"champion": "2", "previous": "1"}
    assert clean.state()["candidates"] == {"candidate-macs-25": "4", "tested": "3"}
    for scene, death in deaths(roll_back, make_scene):
        roll_back(scene.store, scene.name)
        assert scene.state() == clean.state(), death
        assert scene.outcomes().count("rolled_back") == 1, death


def test_a_promotion_that_died_anywhere_holds_no_lease_and_is_finished_or_made_again(
    make_scene: Callable[[], Scene],
) -> None:
    clean = make_scene()
    promote_four(clean.store, clean.name)
    assert clean.state()["aliases"] == {"champion": "4", "previous": "3"}
    for scene, death in deaths(promote_four, make_scene):
        moved = scene.champion == "4"
        tag = model_registry.get_version(scene.store, scene.name, 4).tags.get(promotion.OUTCOME)
        assert moved or (tag is None and "promoted" not in scene.outcomes()), death
        finished = alias_transaction.recover(scene.store, scene.name)
        assert (scene.champion == "4") == moved, death
        if not moved:
            assert finished is None, death
            promote_four(scene.store, scene.name)
        assert scene.state() == clean.state(), death
        assert scene.outcomes().count("promoted") == 1, death


def test_a_rollback_after_a_promotion_that_died_leaves_the_champion_that_was_seen(
    make_scene: Callable[[], Scene],
) -> None:
    for scene, death in deaths(promote_four, make_scene, only="set_registered_model_alias"):
        seen = scene.champion
        move, resumed = promotion.roll_back(scene.store, scene.name)
        assert (move.before, move.champion, resumed) == (seen, str(int(seen) - 1), False), death
        assert scene.state()["rolled back"] == [seen], death


def test_a_lease_whose_run_was_deleted_blocks_nobody(make_scene: Callable[[], Scene]) -> None:
    scene = make_scene()
    scene.store.client.set_registered_model_tag(scene.name, lease.TAG, "0" * 32)
    promote_four(scene.store, scene.name)
    assert scene.state()["lease"] is None
    assert scene.state()["aliases"] == {"champion": "4", "previous": "3"}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[MlflowStore, str], MlflowStore]:
    """The same store as another machine sees it: a server, and lock files of its own."""
    monkeypatch.setattr(MlflowStore, "local", property(lambda _: False))

    def see(store: MlflowStore, machine: str) -> MlflowStore:
        (tmp_path / machine).mkdir(exist_ok=True)
        return replace(store, locks=tmp_path / machine)

    return see


@pytest.mark.parametrize("theirs", [roll_back, promote_one], ids=["a rollback", "a promotion"])
def test_a_move_of_another_machine_between_any_two_writes(
    make_scene: Callable[[], Scene],
    elsewhere: Callable[[MlflowStore, str], MlflowStore],
    theirs: Callable[[MlflowStore, str], object],
) -> None:
    """Mine promotes 4 from 3; the other machine moves from 3 too, all at once, before one of my writes."""
    rehearsal = make_scene()
    store, rehearsed = rehearsal.with_client()
    promote_four(store, rehearsal.name)
    decisive = rehearsed.writes.index("set_registered_model_alias") + 1
    for moment in first_of(rehearsed.writes):
        scene = make_scene()
        store, client = scene.with_client()
        there, done = elsewhere(scene.store, "there"), []
        client.at = moment, partial(attempt, theirs, there, scene.name, "theirs", done)
        attempt(promote_four, elsewhere(store, "here"), scene.name, "mine", done)
        where = f"before write {moment}, {client.writes[moment - 1]}: {done} said done, champion {scene.champion}"
        if moment < decisive:
            assert (done, scene.champion) == (["theirs"], "2" if theirs is roll_back else "1"), where
        elif moment == decisive:  # what remains: I stood still for longer than the other's patience, and say so
            assert done == ["theirs"], where
        elif theirs is roll_back:  # the other one finished my promotion, then took it back
            assert (sorted(done), scene.champion) == (["mine", "theirs"], "3"), where
        else:
            assert (done, scene.champion) == (["mine"], "4"), where
        assert scene.outcomes().count("promoted") == len({*done} - ({"theirs"} if theirs is roll_back else set())), (
            where
        )
        assert scene.state()["lease"] is None, where


def attempt(
    move: Callable[[MlflowStore, str], object], store: MlflowStore, name: str, who: str, done: list[str]
) -> None:
    with suppress(BusyError):
        move(store, name)
        done.append(who)


def test_a_lease_of_another_machine_is_waited_for(
    make_scene: Callable[[], Scene],
    elsewhere: Callable[[MlflowStore, str], MlflowStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make_scene()
    store, _ = scene.with_client(kill_at=7)
    with pytest.raises(Killed):
        promote_four(store, scene.name)
    assert scene.state()["lease"] is not None
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:  # the owner comes back to life and ends
            scene.store.client.delete_registered_model_tag(scene.name, lease.TAG)

    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(lease.time, "sleep", sleep)
    assert alias_transaction.recover(elsewhere(scene.store, "there"), scene.name) is None
    assert len(waited) == 3
