"""A member's host in other hands names the files of its log: it reaches its own archive alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.hosts import wait
from tests.e2e.mysql.hosts import CLUSTER, Site

_ARCHIVE = f"/var/lib/dbops-repository/{CLUSTER}/binlog"
_ROGUE = Path(__file__).with_name("rogue.py")
_DECOY = "precious log of another member"


@pytest.fixture
def other(site: Site) -> Iterator[tuple[Site, str, str]]:
    """The fleet, its replica, and a decoy in the primary's archive; whole again afterwards.

    The decoy is no log by its name: it would be found damaged.
    """
    primary, replica = site.primary(), site.replica()
    place = f"{_ARCHIVE}/{primary}/decoy"
    site.root(
        "backup3",
        f"install -d -o dbops-repository -g dbops-repository {place} && "
        f"echo {shlex.quote(_DECOY)} > {place}/precious.txt && "
        f"chown dbops-repository: {place}/precious.txt",
    )
    yield site, replica, place
    site.root(replica, "systemctl stop rogue; systemctl start mariadb", ok=False)
    site.root("backup3", f"rm -rf {place}")
    site.root("backup3", f"rm -rf {_ARCHIVE}/{replica}/evil*", ok=False)
    site.root("backup3", f"systemctl restart 'dbops-binlog-{CLUSTER}@{replica}'")
    site.wait_whole()


def _run(site: Site, host: str, name: str) -> None:
    """Put the rogue server in the place of MariaDB on ``host``."""
    text = shlex.quote(_ROGUE.read_text(encoding="utf-8"))
    site.root(
        host,
        f"systemctl stop rogue; systemctl stop mariadb; printf %s {text} > /root/rogue.py",
        ok=False,
    )
    site.root(
        host,
        "systemctl reset-failed rogue; systemd-run --unit=rogue /usr/bin/python3 /root/rogue.py "
        f"3306 /etc/dbops/tls/host.crt /etc/dbops/tls/host.key {shlex.quote(name)}",
        ok=False,
    )


def test_a_name_leads_into_no_other_member_s_archive(other: tuple[Site, str, str]) -> None:
    site, replica, place = other
    unit = f"dbops-binlog-{CLUSTER}@{replica}"
    primary = site.primary()
    _run(site, replica, f"../../{primary}/decoy/precious.txt")
    wait(lambda: "Read-only file system" in _log(site, replica), 60, f"{unit} is refused")
    assert site.root("backup3", f"cat {place}/precious.txt") == _DECOY
    assert site.take("log").status == 0
    arrives = {one["name"]: one["ok"] for one in site.checks("backup3")}
    assert arrives[f"binary log of {primary} arrives"]


def test_a_damaged_log_is_fetched_anew_and_stops_no_other_s(other: tuple[Site, str, str]) -> None:
    site, replica, _ = other
    newest = site.root("backup3", f"ls {_ARCHIVE}/{replica}/*/binlog.* | tail -1")
    # The reader is held, or it would write the next events over the damage.
    held = f"pkill -STOP -f '[m]ariadb-binlog.*{replica}'"
    site.root("backup3", f"{held}; head -c 100 /dev/zero >> {newest}")
    assert site.take("log").status == 0
    session = f"ls -d {_ARCHIVE}/{replica}/*Z/ | tail -1"
    before = newest.rsplit("/", 1)[0] + "/"
    # A reader that fetches nothing although there is more is given a minute.
    wait(lambda: site.root("backup3", session) != before, 120, "a new session")
    wait(lambda: all(one["ok"] for one in site.checks("backup3") if "arrives" in one["name"]), 60,
         "both logs arrive")  # fmt: skip


def _log(site: Site, replica: str) -> str:
    return site.root(
        "backup3",
        f"cat {_ARCHIVE}/{replica}/log; journalctl -q -u 'dbops-binlog-{CLUSTER}@{replica}' -n 50",
        ok=False,
    )
