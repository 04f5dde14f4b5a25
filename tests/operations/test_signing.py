"""Signed requests: only what the sender signed, lately, and once."""

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from eyas.operations.signing import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_SECONDS,
    OvertakenError,
    ReplayGuard,
    Signature,
    SignatureError,
    sign,
    verify,
)

SECRET = b"a secret of twenty-four b"
NOW = 1_800_000_000


def headers(body: bytes, *, at: int = NOW, secret: bytes = SECRET) -> dict[str, str]:
    return {TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: sign(secret, at, body)}


def accept(signed: Mapping[str, str], body: bytes, *, now: float, guard: ReplayGuard) -> None:
    with guard.spending(verify(SECRET, signed, body, now=now), now=now):
        pass


def test_the_signature_is_hmac_sha256_over_time_and_body() -> None:
    expected = hmac.digest(SECRET, b"1800000000.{}", hashlib.sha256).hex()
    assert sign(SECRET, NOW, b"{}") == f"sha256={expected}"


def test_a_signed_request_is_accepted_once(tmp_path: Path) -> None:
    guard = ReplayGuard(tmp_path / "seen.json")
    accept(headers(b"{}"), b"{}", now=NOW + 5, guard=guard)
    with pytest.raises(SignatureError, match="replayed"):
        accept(headers(b"{}"), b"{}", now=NOW + 6, guard=guard)


def test_a_restart_does_not_forget_what_was_accepted(tmp_path: Path) -> None:
    accept(headers(b"{}"), b"{}", now=NOW, guard=ReplayGuard(tmp_path / "seen.json"))
    with pytest.raises(SignatureError, match="replayed"):
        accept(headers(b"{}"), b"{}", now=NOW, guard=ReplayGuard(tmp_path / "seen.json"))


def test_a_request_stays_remembered_as_long_as_it_would_be_accepted(tmp_path: Path) -> None:
    guard = ReplayGuard(tmp_path / "seen.json")
    early = headers(b"{}", at=NOW + 299)  # the sender's clock is ahead
    accept(early, b"{}", now=NOW, guard=guard)
    accept(headers(b"other", at=NOW + 590), b"other", now=NOW + 590, guard=guard)
    with pytest.raises(SignatureError, match="replayed"):
        accept(early, b"{}", now=NOW + 598, guard=guard)


@pytest.mark.parametrize("shift", [-301, 301, 86_400])
def test_an_old_or_future_request_is_refused(tmp_path: Path, shift: int) -> None:
    with pytest.raises(SignatureError, match="s from now"):
        accept(headers(b"{}"), b"{}", now=NOW + shift, guard=ReplayGuard(tmp_path / "seen.json"))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {TIMESTAMP_HEADER: "soon"},
        {TIMESTAMP_HEADER: "²"},
        {TIMESTAMP_HEADER: "1" * 5000},
        {TIMESTAMP_HEADER: str(NOW + 1)},
        {SIGNATURE_HEADER: ""},
        {SIGNATURE_HEADER: "sha256=é"},
        {SIGNATURE_HEADER: "sha256=" + "0" * 64},
        {SIGNATURE_HEADER: sign(b"another secret of length", NOW, b"{}")},
    ],
)
def test_any_other_header_is_refused_without_a_trace_of_the_secret(tmp_path: Path, changed: dict[str, str]) -> None:
    guard = ReplayGuard(tmp_path / "seen.json")
    signed = headers(b"{}") | changed if changed else {}
    with pytest.raises(SignatureError) as caught:
        accept(signed, b"{}", now=NOW, guard=guard)
    assert SECRET.decode() not in str(caught.value)
    assert sign(SECRET, NOW, b"{}") not in str(caught.value)
    accept(headers(b"{}"), b"{}", now=NOW, guard=guard)


def test_a_changed_body_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="wrong signature"):
        accept(headers(b'{"a": 1}'), b'{"a": 2}', now=NOW, guard=ReplayGuard(tmp_path / "seen.json"))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(SignatureError, match="at least 16"):
        verify(b"short", headers(b"{}", secret=b"short"), b"{}", now=NOW)


def test_a_request_that_came_to_nothing_may_be_sent_again(tmp_path: Path) -> None:
    guard, signed = ReplayGuard(tmp_path / "seen.json"), headers(b"{}")
    with pytest.raises(RuntimeError, match="busy"), guard.spending(verify(SECRET, signed, b"{}", now=NOW), now=NOW):
        raise RuntimeError("busy")
    accept(signed, b"{}", now=NOW + 1, guard=guard)
    with pytest.raises(SignatureError, match="replayed"):
        accept(signed, b"{}", now=NOW + 2, guard=guard)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"sha256=00": 1}', '{"seen": {"a": "b"}, "not_before": 0}', "\x00"]
)
def test_a_lost_memory_refuses_what_it_may_have_accepted_and_heals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = tmp_path / "seen.json"
    early = headers(b"{}", at=NOW + 299)  # the sender's clock is ahead
    accept(early, b"{}", now=NOW, guard=ReplayGuard(path))
    path.write_text(content)
    caplog.set_level(logging.ERROR)
    for now in (NOW + 1, NOW + 2, NOW + 302, NOW + 598):
        with pytest.raises(SignatureError, match="cannot tell whether"):
            accept(early, b"{}", now=now, guard=ReplayGuard(path))
    assert caplog.text.count("cannot be read") == 1
    (kept,) = tmp_path.glob("seen.json.broken-*")
    assert kept.read_text() == content
    accept(headers(b"{}", at=NOW + 303), b"{}", now=NOW + 303, guard=ReplayGuard(path))
    assert json.loads(path.read_text())["seen"]


def test_in_one_matter_only_a_later_request_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    path.write_text('{"seen": {}, "not_before": -1}')  # as it was written before matters were told apart

    def spend(sent_at: int, now: float, matter: str = "north") -> None:
        with ReplayGuard(path).spending(Signature(f"{matter} {sent_at}", sent_at), now, matter):
            pass

    spend(NOW, NOW)
    with pytest.raises(OvertakenError, match="signed 1 s before what was accepted last; sign it anew"):
        spend(NOW - 1, NOW + 2)
    with pytest.raises(RuntimeError), ReplayGuard(path).spending(Signature("torn", NOW + 9), NOW, "north"):
        raise RuntimeError  # nothing was replaced
    spend(NOW + 1, NOW + 2)
    spend(NOW - 1, NOW + 2, "south")
    spend(NOW - 1, NOW + 2, "")  # which replaces nothing
    with pytest.raises(OvertakenError):
        spend(NOW, NOW + 2 + 2 * TOLERANCE_SECONDS)
    spend(NOW + 1300, NOW + 1300)
    assert len(json.loads(path.read_text())["latest"]) == 1  # what is too old to be overtaken is forgotten
