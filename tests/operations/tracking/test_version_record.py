from eyas.operations.fingerprint import Fingerprint
from eyas.operations.lineage import Lineage
from eyas.operations.tracking.version_record import RECORD, as_record, with_record, without_record

LINEAGE = Lineage("a run", {"fetch": "k"}, "data", "weights", "params", git_commit="c" * 40, profile="mine")
FINGERPRINT = Fingerprint("data", "params", "code", "")
TAGS = LINEAGE.tags() | FINGERPRINT.tags() | {"eyas.verdict": "held", "eyas.manifest_digest": "m", "eyas.metrics": "{}"}


def test_readers_see_no_difference() -> None:
    for written in (as_record(TAGS), TAGS):  # as today, and as before
        tags = without_record(written)
        assert {name: tags[name] for name in TAGS} == TAGS
        assert (Lineage.from_tags(tags), Fingerprint.from_tags(tags)) == (LINEAGE, FINGERPRINT)


def test_a_person_sees_what_a_person_reads() -> None:
    assert set(as_record(TAGS)) - {RECORD} == {
        "eyas.verdict", "eyas.profile", "eyas.command", "eyas.git_commit", "eyas.git_dirty",
    }  # fmt: skip


def test_later_tags_stand_where_the_version_has_them() -> None:
    news = {"eyas.fingerprint.data": "new", "eyas.outcome": "promoted"}
    assert with_record(TAGS, news) == news
    version = without_record(as_record(TAGS))
    written = with_record(version, news)
    assert set(written) == {RECORD, "eyas.outcome"}
    assert without_record(as_record(TAGS) | written) == version | news | {RECORD: written[RECORD]}
    assert with_record(version, {"eyas.outcome": "refused"}) == {"eyas.outcome": "refused"}
