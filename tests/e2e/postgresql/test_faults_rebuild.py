"""A standby that is built anew: refused before anything stops, never started before it is whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.postgresql.hosts import Site

_SPACE = "/var/lib/postgresql/space"
_MEMBERS = ("pg1", "pg2")


@pytest.fixture
def spacious(whole: Site) -> Iterator[Site]:
    """The fleet with a tablespace in use."""
    for host in _MEMBERS:
        whole.root(host, f"install -d -o postgres -g postgres -m 700 {_SPACE}")
    primary = whole.primary()
    whole.ask(primary, f"CREATE TABLESPACE space LOCATION '{_SPACE}'")
    whole.ask(primary, "CREATE TABLE spacious (id int) TABLESPACE space")
    yield whole
    whole.ask(primary, "DROP TABLE spacious")
    whole.ask(primary, "DROP TABLESPACE space")
    # Whoever replays that log needs the directories, and a drill has none: a backup behind it.
    whole.take("incremental")


def test_a_tablespace_in_the_way_is_told_before_anything_is_stopped(spacious: Site) -> None:
    standby = spacious.replica()
    checked = spacious.dbops(standby, "check", ok=False)
    assert f"space in {_SPACE}" in " ".join(checked.stdout.split())
    began = "SELECT pg_postmaster_start_time()"
    before = spacious.ask(standby, began)
    play = spacious.run_play("replicate", "-e", f"dbops_replicate_rebuild={standby}", ok=False)
    assert play.status != 0
    assert f"on {standby} {_SPACE} is not an empty directory" in play.said
    assert "Nothing was changed." in play.said
    assert spacious.ask(standby, began) == before
    assert spacious.whole()


def test_a_copy_that_did_not_end_is_not_started_and_the_next_play_begins_anew(whole: Site) -> None:
    """What is left when the controller dies after the copy would start as a second primary."""
    standby = whole.replica()
    whole.root(
        standby,
        "systemctl stop 'postgresql@*'; cd /var/lib/postgresql/*/; rm main/standby.signal; "
        "touch main.unfinished",
    )
    unit = "$(systemctl list-units --all --plain --no-legend 'postgresql@*' | awk '{print $1}')"
    said = whole.root(standby, f"systemctl start {unit} || echo refused")
    assert "refused" in said
    checked = whole.dbops(standby, "check", ok=False)
    assert "a copy of the primary to it began and did not end" in " ".join(checked.stdout.split())
    whole.run_play("site")
    whole.wait_whole()
    assert whole.root(standby, "ls /var/lib/postgresql/*/main.unfinished || true") == ""
    whole.root(standby, "rm -rf /var/lib/postgresql/*/main.set-aside-*")
