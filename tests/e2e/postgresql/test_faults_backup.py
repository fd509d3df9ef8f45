"""What happens to a backup and to the repository: killed, full, away, locked, without its key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab import faults
from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_REPOSITORY = "/var/lib/pgbackrest"
_CONFIG = "/etc/pgbackrest/pgbackrest.conf"


def _ids(site: Site) -> list[str]:
    return [backup["backup_id"] for backup in site.backups()]


def test_a_backup_killed_half_way_is_never_listed_and_the_next_one_succeeds(load: Load) -> None:
    site = load.site
    before = _ids(site)
    with load.running():
        load.more(50)
        running = site.start("backup1", "backup", "take", "--type", "full")
        # Half way: the copy's folder is there and pgBackRest has not put its manifest into it.
        torn = site.root(
            "backup1",
            f"cd {_REPOSITORY}/backup/{CLUSTER}; for i in $(seq 600); do "
            "for d in 2*F; do [ -e $d/backup.manifest ] || { [ -d $d ] && break 2; }; done; "
            "sleep 0.05; done; pids=$(pgrep -x pgbackrest; pgrep -f '[d]bops backup take'); "
            "kill -9 $pids; echo $d; [ ! -e $d/backup.manifest ] || echo whole",
        )
        assert "whole" not in torn, f"the backup was complete before it was killed: {torn}"
        assert running.wait(30) != 0
        assert _ids(site) == before
        last = [o for o in site.checks("backup1") if o["name"] == "last full backup succeeded"]
        assert [(one["ok"], one["detail"]) for one in last] == [(False, "did not end")]
        site.root("backup1", "systemctl restart pgbackrest-gate")
        site.take("full")
        load.more(50)
    # The next one may have gone on where the torn one ended, so it has to prove itself.
    assert len([one for one in _ids(site) if one not in before]) == 1
    assert site.dbops("backup1", "backup", "verify").status == 0
    site.dbops("drill1", "drill", "run")
    load.nothing_lost()


@contextmanager
def _repository_on_a_small_disk(site: Site) -> Iterator[None]:
    used = int(site.root("backup1", f"du -sm {_REPOSITORY} | cut -f1"))
    services = "pgbackrest-gate.service pgbackrest-seal.timer pgbackrest-seal.service"
    site.root("backup1", f"systemctl stop {services}")
    with faults.small_disk(site.lab, "backup1", _REPOSITORY, used + 24):
        site.root("backup1", "systemctl start pgbackrest-gate.service pgbackrest-seal.timer")
        try:
            yield
        finally:
            # What comes in while the files are carried back would be lost with the small disk.
            faults.relieve(site.lab, "backup1", _REPOSITORY)
            site.root("backup1", f"systemctl stop {services}; pkill -9 -x pgbackrest || true")
    site.root("backup1", "systemctl start pgbackrest-gate.service pgbackrest-seal.timer")


def test_a_full_repository_fails_the_backup_clearly_and_works_again_after_relief(
    load: Load,
) -> None:
    site = load.site
    before = _ids(site)
    with load.running():
        load.more(50)
        with _repository_on_a_small_disk(site):
            faults.fill(site.lab, "backup1", _REPOSITORY)
            failed = site.take("full", ok=False)
            assert failed.status not in (0, 1), failed.said
            assert "No space left" in failed.said or "archive" in failed.said, failed.said
            assert _ids(site) == before
            load.more(50)
            faults.relieve(site.lab, "backup1", _REPOSITORY)
            site.take("incremental")
            assert len(_ids(site)) == len(before) + 1
        load.more(50)
    site.wait_archived()
    site.no_hole()
    assert site.dbops("backup1", "backup", "verify").status == 0
    load.nothing_lost()


def test_a_full_spool_on_the_data_host_costs_no_log(load: Load) -> None:
    site = load.site
    primary = site.primary()
    spool = "/var/spool/pgbackrest"
    with faults.small_disk(site.lab, primary, spool, 4):
        faults.fill(site.lab, primary, spool)
        # Files without content fit on a full disk, so the room for their names is taken, too.
        room = f"$(($(df --output=iused {spool} | tail -1) + 5))"
        site.root(
            primary,
            f"mount -o remount,nr_inodes={room} {spool}; "
            f"i=0; while touch {spool}/full.$i 2>/dev/null; do i=$((i+1)); done; [ $i -gt 0 ]",
        )
        with load.running():
            load.more(100)
            for _ in range(3):
                site.ask(primary, "SELECT pg_switch_wal()")
                load.more(30)
        site.root(primary, f"mount -o remount,nr_inodes=100000 {spool}; rm {spool}/full.*")
        faults.relieve(site.lab, primary, spool)
        site.wait_archived()
        site.no_hole()
    site.wait_archived()
    site.no_hole()
    load.nothing_lost()


def test_the_repository_s_host_away_for_a_while_costs_no_log(load: Load) -> None:
    site = load.site
    primary = site.primary()
    switched = []
    with load.running():
        load.more(50)
        faults.kill(site.lab, "backup1")
        for _ in range(4):
            load.more(50)
            switched.append(site.ask(primary, "SELECT pg_walfile_name(pg_switch_wal())"))
        faults.start(site.lab, "backup1")
        load.more(50)
        switched.append(site.wait_archived(120))
    kept = site.segments()
    assert not [name for name in switched if name not in kept], "segments were never archived"
    site.no_hole()
    fresh = [one for one in site.checks("backup1") if "fresh" in one["name"]]
    assert fresh
    assert all(one["ok"] for one in fresh), fresh
    site.take("incremental")
    load.nothing_lost()


@contextmanager
def wrong_passphrase(site: Site) -> Iterator[None]:
    """Let every host have another passphrase than the repository was made with."""
    change = (
        f"cp -a {_CONFIG} {_CONFIG}.kept; sed -i 's/^repo1-cipher-pass=.*/repo1-cipher-pass=x/'"
    )
    for host in site.hosts:
        site.root(host, f"{change} {_CONFIG}")
    try:
        yield
    finally:
        for host in site.hosts:
            site.root(host, f"mv {_CONFIG}.kept {_CONFIG}")


def test_a_wrong_passphrase_is_said_so_and_changes_nothing(load: Load) -> None:
    site = load.site
    site.wait_archived()
    before, tree = _ids(site), site.tree()
    with load.running(), wrong_passphrase(site):
        load.more(50)
        for host, words in (
            ("backup1", ("backup", "take")),
            ("backup1", ("backup", "list")),
            ("backup1", ("backup", "verify")),
            ("drill1", ("drill", "run")),
        ):
            done = site.dbops(host, *words, ok=False)
            assert done.status in (2, 6), (words, done.said)
            assert "passphrase" in done.said, (words, done.said)
        assert site.root("drill1", f"ls /var/lib/dbops/{CLUSTER}/scratch 2>&1 || true").endswith(
            "No such file or directory"
        )
        site.ask(site.primary(), "SELECT pg_switch_wal()")
        load.more(50)
        time.sleep(3)
        assert site.tree() == tree, "something was written with the wrong passphrase"
    site.wait_archived()
    site.no_hole()
    assert _ids(site) == before
    site.take("incremental")
    load.nothing_lost()
