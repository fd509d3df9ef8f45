"""What happens to the log when the spool is full, and to all of it with another passphrase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab import faults
from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_CONFIG = "/etc/pgbackrest/pgbackrest.conf"


def _ids(site: Site) -> list[str]:
    return [backup["backup_id"] for backup in site.backups()]


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
