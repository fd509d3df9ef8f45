"""The frame of all samples conducts the fake engine: each answer fails in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from dbops.errors import CommandFailed, ConfigError, Unreachable
from dbops.monitor.target import Link, Vitals, Watch, collect
from dbops.options import EngineOptions
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_answers
from tests.contract.fake_engine import LATER

Answers = Watch[str]
WORDS = "The fake says no."
BEHIND = Link(True, LATER.timestamp(), 7.0)
LOCAL = {"dbops_objective_rpo_seconds", "dbops_disk_free_bytes", "dbops_tls_certificate_known"}
ASKED = ["connect", "vitals", "beat", "link", "more"]


@pytest.fixture
def member(write_target: WriteTarget) -> Target:
    return write_target(part="member")


def opts(target: Target) -> EngineOptions:
    return EngineOptions(
        port=1,
        migrate_port=1,
        os_user="fake",
        data_dir=target.state_dir,
        repo_path=target.state_dir,
        scratch_dir=target.state_dir,
    )


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def spoiled(watch: Answers, name: str, error: Exception) -> Answers:
    """Return the answers, of which one fails."""
    answer: Any = {name: failing(error)}
    return replace(watch, **answer)


def gather(target: Target, watch: Answers) -> tuple[dict[str, float], Exception | None]:
    """Return the newest value of each sample, by name, and what ended the collection."""
    found: dict[str, float] = {}
    try:
        for sample in collect(target, opts(target), watch):
            found[sample.name + "".join(f"/{value}" for _, value in sample.labels)] = sample.value
    except Exception as error:
        return found, error
    return found, None


def test_a_member_tells_what_it_is(member: Target) -> None:
    found, error = gather(member, fake_answers.watch())
    assert error is None
    assert found["dbops_up"] == found["dbops_role/primary"] == 1
    assert found["dbops_connections_used_ratio"] == 0.25
    assert found["dbops_pages"] == 1
    assert found["dbops_replication_lag_seconds"] == found["dbops_replication_lag_bytes"] == 0
    assert {"dbops_disk_free_bytes/data", "dbops_disk_free_bytes/log"} <= found.keys()


def test_a_replica_has_the_same_series_and_its_own_lag(member: Target) -> None:
    primary, _ = gather(member, fake_answers.watch())
    found, _ = gather(member, fake_answers.watch(BEHIND))
    assert found.keys() == primary.keys()
    assert (found["dbops_role/replica"], found["dbops_role/primary"]) == (1, 0)
    assert found["dbops_replication_lag_bytes"] == 7
    assert found["dbops_replication_last_contact_timestamp_seconds"] == LATER.timestamp()
    assert found["dbops_replication_lag_seconds"] == found["dbops_heartbeat_age_seconds"] > 0


def test_a_link_that_is_cut_is_told_with_its_estimate_marked(member: Target) -> None:
    found, _ = gather(member, fake_answers.watch(Link(False, 1.0, 9.0)))
    assert found["dbops_replication_link_up"] == 0
    assert found["dbops_replication_lag_bytes_known"] == 0
    assert found["dbops_replication_lag_seconds_known"] == 1


def test_no_heartbeat_is_no_lag_of_zero(member: Target) -> None:
    found, _ = gather(member, replace(fake_answers.watch(BEHIND), beat=lambda server: None))
    assert found["dbops_heartbeat_known"] == found["dbops_replication_lag_seconds_known"] == 0


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_that_fails_ends_it_after_what_is_known_without_the_server(
    member: Target, name: str
) -> None:
    ended = list[str]()
    watch = fake_answers.watch(ended=lambda: ended.append("end"))
    found, error = gather(member, spoiled(watch, name, CommandFailed(WORDS)))
    assert isinstance(error, Unreachable)
    assert str(error) == WORDS
    assert {name.split("/")[0] for name in found} >= LOCAL
    for known in ("dbops_up", *(f"dbops_{one}_known" for one in _DOUBTED)):
        assert found[known] == 0, known
    assert ended == ([] if name == "connect" else ["end"])


_DOUBTED = ("replication_lag_seconds", "replication_lag_bytes", "pages")


@pytest.mark.parametrize("name", ASKED)
def test_the_driver_s_own_error_is_told_in_words(member: Target, name: str) -> None:
    found, error = gather(member, spoiled(fake_answers.watch(), name, KeyError("x")))
    assert str(error) == f"The server on {member.member} stopped answering: it is gone."
    assert found["dbops_up"] == 0


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("raised", [ZeroDivisionError("x"), ConfigError(WORDS)])
def test_any_other_error_is_raised_as_it_is(member: Target, name: str, raised: Exception) -> None:
    _, error = gather(member, spoiled(fake_answers.watch(), name, raised))
    assert error is raised


def test_a_port_that_serves_no_certificate_is_not_known_and_ends_nothing(member: Target) -> None:
    found, error = gather(member, replace(fake_answers.watch(), certificate=failing(OSError())))
    assert error is None
    assert found["dbops_tls_certificate_known/1"] == 0
    assert found["dbops_up"] == 1


def test_what_an_engine_does_not_have_is_no_series(member: Target) -> None:
    watch = replace(
        fake_answers.watch(), log_dir=None, vitals=lambda server: Vitals("1", 0.0, 1, 2)
    )
    found, error = gather(member, watch)
    assert error is None
    assert not {name for name in found if "longest" in name or "blocked" in name}
    assert "dbops_disk_free_bytes/log" not in found


def test_a_repository_tells_each_kind_and_what_is_exposed(write_target: WriteTarget) -> None:
    target = write_target(part="repository")
    found, error = gather(target, fake_answers.watch())
    assert error is None
    assert "dbops_backup_last_result/fake/log/repo1" in found
    assert found["dbops_rpo_exposure_known"] == 1
    for newest in (lambda: None, None):
        found, error = gather(target, replace(fake_answers.watch(), newest_log=newest))
        assert error is None
        assert found["dbops_rpo_exposure_known"] == 0
    found, error = gather(target, replace(fake_answers.watch(), newest_log=failing(OSError())))
    assert isinstance(error, OSError)
    assert "dbops_backup_retained_count/fake" in found


def test_a_drill_host_asks_no_server(write_target: WriteTarget) -> None:
    watch = replace(fake_answers.watch(), connect=failing(OSError()))
    found, error = gather(write_target(part="drill"), watch)
    assert error is None
    assert found["dbops_restore_drill_last_result/fake"] == 0


def test_each_answer_is_made_to_fail() -> None:
    """``method``, ``kinds`` and ``unknown`` are words; ``log_dir`` is asked of a path alone."""
    tried = {*ASKED, "certificate", "newest_log", "explain"}
    words = {"method", "kinds", "unknown", "log_dir"}
    assert {field.name for field in fields(Watch)} == tried | words
