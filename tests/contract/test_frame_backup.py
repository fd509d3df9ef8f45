"""The frame of a backup conducts the fake engine: each answer fails in turn, none unnoticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from dbops import lock, status
from dbops.backup import take as frame
from dbops.backup.copying import Copying, Log, Stream
from dbops.contract import BackupRequest
from dbops.errors import (
    Busy,
    CommandFailed,
    ConfigError,
    DbopsError,
    Refused,
    Unreachable,
    VerificationFailed,
)
from dbops.manifest import Kind, Manifest
from dbops.repository import catalogue
from dbops.repository.retention import MOST_AUTOMATIC
from dbops.repository.routes import Entry
from dbops.runner import run
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract.fake_store import Fake, Source

Answers = Copying[Source]
Spoil = Callable[[Answers], Answers]
WORDS = "The fake says no."
KEPT = f"is complete and kept, but without a fingerprint: {WORDS}"


@pytest.fixture
def target(write_target: WriteTarget) -> Target:
    return write_target(part="repository")


@pytest.fixture
def fake(target: Target) -> Fake:
    return Fake(target)


def take(
    fake: Fake,
    answers: Answers | None = None,
    kind: Kind = "full",
    fingerprint: bool = True,
    **asked: bool,
) -> Manifest:
    request = BackupRequest(kind, fingerprint, **asked)
    return frame.take(fake.target, request, fake.told.append, answers or fake.answers)


def fail(*_: object) -> Any:
    raise VerificationFailed(WORDS)


def listed(fake: Fake) -> list[tuple[str, bool]]:
    """Return what is listed, logs aside, and whether each has its fingerprint."""
    found = catalogue.entries(fake.repo)
    return [
        (one.backup_id, bool(one.manifest.fingerprints))
        for one in found
        if one.manifest.kind != "log"
    ]


def logs(fake: Fake) -> list[Entry]:
    return [one for one in catalogue.entries(fake.repo) if one.manifest.kind == "log"]


def last(fake: Fake, kind: Kind = "full") -> tuple[int, str]:
    """Return how the last attempt ended, and its message."""
    noted = status.read(fake.target)["kinds"][kind]
    assert not noted["running"]
    return noted["last_result"], noted["message"]


def changed(answers: Answers, **changes: Any) -> Answers:
    """Return answers whose stream differs."""

    @contextmanager
    def stream(*given: Any) -> Iterator[Stream]:
        with answers.open_stream(*given) as whole:
            yield replace(whole, **changes)

    return replace(answers, open_stream=stream)


def _torn(answers: Answers) -> Answers:
    script = f"printf 0123456789; echo '{WORDS}' >&2; exit 1"

    @contextmanager
    def stream(*given: Any) -> Iterator[Stream]:
        with answers.open_stream(*given) as whole:
            torn = replace(whole.producer, argv=("/bin/sh", "-c", script))
            yield replace(whole, producer=torn)

    return replace(answers, open_stream=stream)


def _gap(answers: Answers) -> Answers:
    def log(*given: Any) -> Log:
        assert answers.log is not None
        return replace(answers.log(*given), require_whole=fail)

    return replace(answers, log=log)


UNLISTED: list[tuple[str, Spoil]] = [
    ("source", lambda answers: replace(answers, source=fail)),
    ("builds_on", lambda answers: replace(answers, builds_on=fail)),
    ("open_stream", lambda answers: replace(answers, open_stream=fail)),
    ("producer", _torn),
    ("finished", lambda answers: changed(answers, finished=fail)),
    ("ends_log", lambda answers: changed(answers, ends_log=fail)),
]
LISTED: list[tuple[str, Spoil, str]] = [
    ("fingerprint", lambda answers: replace(answers, fingerprint=fail), KEPT),
    ("log", lambda answers: replace(answers, log=fail), WORDS),
    ("require_whole", _gap, WORDS),
    ("tidy", lambda answers: replace(answers, tidy=fail), WORDS),
]


def test_good_answers_are_a_backup_listed_with_its_log_in_one_change(fake: Fake) -> None:
    manifest = take(fake)
    assert listed(fake) == [(manifest.backup_id, True)]
    assert (manifest.kind, manifest.parent_id, manifest.member) == ("full", None, "db1")
    assert (manifest.bytes_read, manifest.tool, manifest.tool_version) == (10, "restic", "1")
    assert manifest.engine == fake.target.engine
    (base,) = [one for one, _ in fake.repo.kept.values() if one.paths == ("base",)]
    assert base.tags == ("full", "db1", "off")
    assert len(logs(fake)) == 1
    assert fake.repo.done == ["store base", "store log", "store catalogue.json", "prune"]
    steps = ["fingerprint", "stream is over", "log of 0", f"whole from {manifest.backup_id}"]
    told = [one for one in fake.told if one in steps or one.startswith("tidy")]
    assert told == [*steps, f"tidy {manifest.backup_id}"]
    assert last(fake) == (1, "")
    assert status.read(fake.target)["catalogue"]["newest_backup"] == manifest.backup_id


@pytest.mark.parametrize(("answer", "spoil"), UNLISTED, ids=[one[0] for one in UNLISTED])
def test_a_copy_that_fails_is_not_listed(fake: Fake, answer: str, spoil: Spoil) -> None:
    first = take(fake)
    done = len(fake.repo.done)
    with pytest.raises(DbopsError, match=WORDS):
        take(fake, spoil(fake.answers), "incremental")
    assert listed(fake) == [(first.backup_id, True)]
    assert last(fake, "incremental") == (0, WORDS)
    stored = ["store base"] if answer in ("finished", "ends_log") else []
    assert fake.repo.done[done:] == stored


@pytest.mark.parametrize(("answer", "spoil", "words"), LISTED, ids=[one[0] for one in LISTED])
def test_what_fails_once_the_copy_is_whole_fails_the_attempt_and_not_the_backup(
    fake: Fake, answer: str, spoil: Spoil, words: str
) -> None:
    first = take(fake)
    long_ago(fake)
    with pytest.raises(VerificationFailed, match=WORDS) as caught:
        take(fake, spoil(fake.answers))
    assert str(caught.value).endswith(words)
    (_, (second, proven)) = listed(fake)
    assert second > first.backup_id
    assert proven == (answer != "fingerprint")
    assert last(fake) == (0, str(caught.value))
    assert fake.repo.done[-1] == "prune"
    assert (f"tidy {second}" in fake.told) == (answer != "tidy")
    assert status.read(fake.target)["catalogue"]["newest_backup"] == second
    assert len(logs(fake)) == 1


def test_each_answer_is_made_to_fail() -> None:
    """``store``, ``kinds`` and what is no function of a stream have tests of their own."""
    tried = {name for name, *_ in [*UNLISTED, *LISTED]}
    assert {one.name for one in fields(Copying)} <= tried | {"store", "kinds"}
    assert {one.name for one in fields(Stream)} <= tried | {"name", "compression"}
    facts = {"member", "facts", "snapshots", "bytes_stored"}
    assert {one.name for one in fields(Log)} <= tried | facts


def long_ago(fake: Fake) -> None:
    """Let space be due to be given back."""
    status.update(fake.target, "prune", {"last_success": "2020-01-01T00:00:00+00:00"})


def test_a_suspiciously_small_backup_is_listed_and_space_that_is_due_is_given_back(
    fake: Fake,
) -> None:
    first = take(fake)
    take(fake)
    long_ago(fake)
    fake.content = "0123"
    with pytest.raises(VerificationFailed, match="is listed, but holds 4 bytes of data, less than"):
        take(fake)
    assert len(listed(fake)) == 3
    assert listed(fake)[0][0] == first.backup_id, "a suspect one pushes out no good one"
    assert last(fake)[0] == 0
    assert fake.repo.done[-1] == "prune"
    assert fake.told[-1] == f"tidy {listed(fake)[-1][0]}"
    for _ in range(3):
        with pytest.raises(VerificationFailed, match=rf"half of the 10 of {listed(fake)[1][0]}"):
            take(fake)
    assert len(listed(fake)) == 6, "a suspect one is no measure, and lets nothing go"
    fake.content = "0123456789"
    take(fake)
    assert last(fake) == (1, "")
    assert len(listed(fake)) == 6, "the first good one went"


def test_a_suspect_backup_is_said_until_a_person_accepts_it(fake: Fake) -> None:
    take(fake)
    fake.content = "0123"
    with pytest.raises(VerificationFailed, match="--accept-smaller"):
        take(fake)
    assert "holds 4 bytes" in status.read(fake.target)["catalogue"]["doubt"]
    with pytest.raises(Refused, match="Nothing expires until"):
        fake.answers.store.plan_expire(fake.target, None)
    take(fake, kind="incremental")
    assert "holds 4 bytes" in status.read(fake.target)["catalogue"]["doubt"]
    assert take(fake, accepted=True).accepted
    assert status.read(fake.target)["catalogue"]["doubt"] is None
    take(fake)
    assert last(fake) == (1, "")


def test_an_automatic_backup_displaces_none_that_was_asked_for(fake: Fake) -> None:
    taken = [take(fake).backup_id for _ in range(2)]
    automatic = [take(fake, automatic=True) for _ in range(9)]
    assert all(one.automatic for one in automatic)
    left = [name for name, _ in listed(fake)]
    assert left[:2] == taken
    assert len(left) == 2 + MOST_AUTOMATIC
    assert left[-1] == automatic[-1].backup_id
    newest = [take(fake).backup_id for _ in range(2)]
    assert [name for name, _ in listed(fake)] == newest


def test_an_automatic_backup_that_is_suspect_lets_what_asked_for_it_go_on(fake: Fake) -> None:
    take(fake)
    fake.content = "0123"
    take(fake, automatic=True)
    assert last(fake) == (1, "")
    assert any("holds 4 bytes of data, less than half" in one for one in fake.told)
    assert "holds 4 bytes" in status.read(fake.target)["catalogue"]["doubt"]


def test_backups_by_hand_within_a_period_count_once(fake: Fake) -> None:
    fake.period_seconds = 600.0
    first = take(fake)
    fake.clock += timedelta(seconds=600)
    taken = [first, *(take(fake) for _ in range(4))]
    assert [name for name, _ in listed(fake)] == [one.backup_id for one in taken]


def test_what_is_left_after_expiry_is_written_down(fake: Fake) -> None:
    first, second = take(fake), take(fake)
    oldest = status.read(fake.target)["catalogue"]["oldest"]
    assert oldest == first.stop.isoformat()
    run(fake.answers.store.plan_expire(fake.target, first.backup_id))
    assert status.read(fake.target)["catalogue"]["oldest"] == second.stop.isoformat()


def test_an_increment_may_be_as_small_as_it_likes(fake: Fake) -> None:
    take(fake)
    fake.content = "0"
    assert take(fake, kind="incremental").bytes_read == 1


def test_a_backup_of_no_bytes_is_none(fake: Fake) -> None:
    fake.content = ""
    with pytest.raises(VerificationFailed, match="holds no bytes at all"):
        take(fake)
    assert listed(fake) == []


def test_every_reason_is_told_and_the_first_names_the_error(fake: Fake) -> None:
    take(fake)

    def unreachable(*_: object) -> Any:
        raise Unreachable("db1 does not answer.")

    fake.content = "0123"
    with pytest.raises(Unreachable) as caught:
        take(fake, replace(_gap(fake.answers), fingerprint=unreachable))
    fingerprint, gap, small = (str(caught.value).index(w) for w in ("db1 does", WORDS, "4 bytes"))
    assert fingerprint < gap < small


def test_space_that_cannot_be_given_back_hides_no_reason(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise CommandFailed("The disk is full.")

    monkeypatch.setattr(type(fake.repo), "prune", broken)
    with pytest.raises(VerificationFailed, match=rf"{WORDS} The disk is full\."):
        take(fake, _gap(fake.answers))
    long_ago(fake)
    with pytest.raises(CommandFailed, match="The disk is full"):
        take(fake)
    assert len(listed(fake)) == 2


def test_retention_keeps_as_many_full_backups_as_the_store_says(fake: Fake) -> None:
    taken = [take(fake).backup_id for _ in range(4)]
    assert [name for name, _ in listed(fake)] == taken[-2:]


def test_nothing_expires_while_the_log_cannot_be_stored(fake: Fake) -> None:
    taken = [take(fake).backup_id for _ in range(2)]
    with pytest.raises(VerificationFailed, match=WORDS):
        take(fake, replace(fake.answers, log=fail))
    assert [name for name, _ in listed(fake)][:2] == taken


def test_an_increment_builds_upon_what_the_engine_says(fake: Fake) -> None:
    full = take(fake)
    increment = take(fake, kind="incremental")
    assert (increment.kind, increment.parent_id) == ("incremental", full.backup_id)
    assert fake.told[-2] == f"whole from {increment.backup_id}"
    assert [one for one in fake.told if one.startswith("log of")] == ["log of 0", "log of 1"]
    answers = replace(fake.answers, builds_on=lambda source, found: found[0])
    assert take(fake, answers, "incremental").parent_id == full.backup_id


def test_without_a_parent_a_full_backup_is_taken_and_told_why(fake: Fake) -> None:
    first = take(fake, kind="incremental")
    assert (first.kind, first.parent_id) == ("full", None)
    assert "there is none, so a full backup is taken" in fake.told
    assert last(fake, "incremental") == (1, "")


def test_who_is_to_be_copied_is_told_of_the_newest_only_to_build_upon_it(fake: Fake) -> None:
    given: list[str | None] = []

    def source(newest: Entry | None, progress: object) -> Source:
        given.append(newest.backup_id if newest else None)
        return Source("db1")

    answers = replace(fake.answers, source=source)
    first = take(fake, answers).backup_id
    take(fake, answers)
    second = listed(fake)[-1][0]
    take(fake, answers, "incremental")
    assert given == [None, None, second]
    assert first != second


def test_an_engine_without_increments_refuses_them_in_words(fake: Fake) -> None:
    answers = replace(fake.answers, kinds=("full",), builds_on=None)
    with pytest.raises(ConfigError, match="no incremental backups of 'flights': take a full one"):
        take(fake, answers, "incremental")
    with pytest.raises(ConfigError, match="take a full one or an incremental one"):
        take(fake, kind="differential")
    assert status.read(fake.target)["kinds"] == {}


def test_an_engine_without_a_log_refuses_to_ship_it(fake: Fake) -> None:
    answers = replace(fake.answers, log=None)
    with pytest.raises(ConfigError, match="There are no log backups of 'flights'"):
        take(fake, answers, "log")
    manifest = take(fake, answers)
    assert listed(fake) == [(manifest.backup_id, True)]
    assert logs(fake) == []


def test_only_the_repository_host_takes_backups(write_target: WriteTarget) -> None:
    fake = Fake(write_target(part="drill"))
    with pytest.raises(ConfigError, match="run this on its repository host"):
        take(fake)


def test_without_a_fingerprint_none_is_asked_for(fake: Fake) -> None:
    answers = replace(fake.answers, fingerprint=fail)
    assert take(fake, answers, fingerprint=False).fingerprints == ()


def test_a_log_backup_lists_the_log_and_then_tells_of_a_gap(fake: Fake) -> None:
    take(fake)
    newest = take(fake, kind="incremental")
    shipped = take(fake, kind="log")
    assert [one.backup_id for one in logs(fake)] == [shipped.backup_id]
    assert (shipped.kind, shipped.parent_id) == ("log", None)
    assert fake.told[-2:] == ["log of 2", f"whole from {newest.backup_id}"]
    fake.clock = datetime(2026, 6, 1, tzinfo=fake.clock.tzinfo)
    with pytest.raises(VerificationFailed, match=WORDS):
        take(fake, _gap(fake.answers), "log")
    assert logs(fake)[0].manifest.start == fake.clock
    assert last(fake, "log") == (0, WORDS)


def test_a_log_backup_that_cannot_be_stored_keeps_the_former_one(fake: Fake) -> None:
    take(fake)
    former = logs(fake)
    with pytest.raises(VerificationFailed, match=WORDS):
        take(fake, replace(fake.answers, log=fail), "log")
    assert logs(fake) == former


def test_a_damaged_catalogue_lets_no_log_go(fake: Fake) -> None:
    take(fake)
    for snapshot_id, (snapshot, _) in list(fake.repo.kept.items()):
        if catalogue.TAG in snapshot.tags:
            fake.repo.kept[snapshot_id] = snapshot, None
    with pytest.raises(VerificationFailed, match="catalogue of the repository is damaged"):
        listed(fake)
    del fake.told[:]
    manifest = take(fake)
    assert "log of 0" in fake.told
    assert listed(fake) == [(manifest.backup_id, True)]


def test_a_backup_does_not_wait_to_be_listed_for_a_log_backup_that_runs(fake: Fake) -> None:
    first = take(fake)
    former = logs(fake)
    with lock.hold(fake.target, "log backup"):
        running = threading.Thread(target=take, args=(fake,))
        running.start()
        wait(lambda: len(listed(fake)) == 2)
        assert logs(fake) == former
    running.join(30)
    assert [one.manifest.start > first.start for one in logs(fake)] == [True]
    assert last(fake) == (1, "")


def wait(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_log_backup_that_does_not_end_is_told_of_and_the_backup_kept(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "_LOG_WAIT_SECONDS", 0.1)
    with (
        lock.hold(fake.target, "log backup"),
        pytest.raises(Busy, match="Another log backup of 'flights' is running"),
    ):
        take(fake)
    assert len(listed(fake)) == 1
    assert fake.repo.done[-1] == "prune"


def ending(fake: Fake) -> Answers:
    """Return the answers of an engine each of whose full backups ends a log."""
    answers = replace(fake.answers, log=None)

    def ends_log(found: Sequence[Entry]) -> Entry | None:
        if not found:
            return None
        saved = fake.repo.save_text("log", "log")
        full = found[-1].manifest
        changes = {"kind": "log", "backup_id": f"{full.backup_id}_1L", "parent_id": full.backup_id}
        return Entry(manifest=full.model_copy(update=changes), snapshots={"log": saved.snapshot_id})

    return changed(answers, ends_log=ends_log)


def test_the_log_that_a_backup_ends_is_listed_with_it(fake: Fake) -> None:
    first = take(fake, ending(fake))
    changes = fake.repo.done.count("store catalogue.json")
    take(fake, ending(fake), fingerprint=False)
    assert [one.manifest.parent_id for one in logs(fake)] == [first.backup_id]
    assert fake.repo.done.count("store catalogue.json") == changes + 1


def test_what_ends_a_run_during_the_fingerprint_costs_no_log(fake: Fake) -> None:
    first = take(fake, ending(fake))

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(fake, replace(ending(fake), fingerprint=interrupted))
    assert listed(fake) == [(first.backup_id, True)]
    assert [one.manifest.parent_id for one in logs(fake)] == [first.backup_id]
    assert last(fake) == (0, "was interrupted")
    assert fake.told[-1] == "stream is over"


def test_the_store_binds_the_catalogue_to_the_repository(fake: Fake) -> None:
    first = take(fake)
    second = take(fake)
    store = fake.answers.store
    found = [one.backup_id for one in store.catalogue(fake.target).backups if one.kind == "full"]
    assert found == [first.backup_id, second.backup_id]
    fake.keep_full = 1
    steps = store.plan_expire(fake.target, None)
    assert f"take {first.backup_id} out of the catalogue" in str(steps[0])
    fake.keep_full = 2
    assert store.plan_expire(fake.target, None) == ()
    elsewhere = fake.target.model_copy(update={"part": "drill"})
    for refused in (
        lambda: store.plan_expire(elsewhere, None),
        lambda: store.verify(elsewhere, fake.told.append),
    ):
        with pytest.raises(ConfigError, match="run this on its repository host"):
            refused()
