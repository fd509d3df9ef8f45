"""Who got code as the gate cannot lead the seal out of the archive."""

from __future__ import annotations

import pytest

from tests.e2e.postgresql.hosts import CLUSTER, Site

_GATE = "setpriv --reuid pgbackrest-gate --regid pgbackrest --clear-groups --"
_ARCHIVE = f"/var/lib/pgbackrest/archive/{CLUSTER}"
_DECOY = "/opt/rt_decoy"

# Swaps the folder d for a link when the seal has left what is in it: inotify's IN_CLOSE_NOWRITE.
_RACE = f"""
import ctypes, os, select, sys
os.chdir("{_ARCHIVE}")
os.makedirs("zz/d/sbin")
for number in range(2500):
    os.mkdir("zz/%d" % number)
libc = ctypes.CDLL("libc.so.6")
handle = libc.inotify_init1(0)
assert libc.inotify_add_watch(handle, b"zz/d/sbin", 0x10) >= 0
print("ready", flush=True)
if select.select([handle], [], [], 60)[0]:
    os.rename("zz/d", "zz/away")
    os.symlink("{_DECOY}", "zz/d")
    print("swapped", flush=True)
"""


@pytest.fixture(autouse=True)
def decoy(site: Site) -> object:
    """Put a folder of root's beside; leave neither it nor what was added to the archive."""
    site.root("backup1", f"install -d -m 0755 {_DECOY} {_DECOY}/sbin")
    yield
    site.root("backup1", f"rm -rf {_DECOY} {_ARCHIVE}/zz {_ARCHIVE}/rt-*")


def test_a_folder_swapped_for_a_link_gets_nothing_of_roots(site: Site) -> None:
    site.root("backup1", "systemctl stop pgbackrest-seal.timer")
    try:
        site.root(
            "backup1",
            f"cat > /opt/rt_decoy/race.py <<'E'\n{_RACE}\nE\n"
            f"{_GATE} python3 /opt/rt_decoy/race.py > /run/rt-race.log 2>&1 & "
            "for i in $(seq 300); do grep -q ready /run/rt-race.log && break; sleep 0.1; done; "
            "systemctl start pgbackrest-seal.service; wait; cat /run/rt-race.log; "
            "rm /run/rt-race.log",
        )
        for path in (_DECOY, f"{_DECOY}/sbin"):
            assert site.root("backup1", f"stat -c '%U:%G %a' {path}") == "root:root 755"
    finally:
        site.root("backup1", "systemctl start pgbackrest-seal.timer")


def test_odd_things_are_left_and_told(site: Site) -> None:
    for line in (
        f"ln -s /etc {_ARCHIVE}/rt-link",
        f"mkfifo {_ARCHIVE}/rt-pipe",
        f"sh -c 'echo x > {_ARCHIVE}/rt-once; ln {_ARCHIVE}/rt-once {_ARCHIVE}/rt-twice'",
        f"sh -c 'mkdir {_ARCHIVE}/rt-dir; chmod 0777 {_ARCHIVE}/rt-dir'",
    ):
        site.root("backup1", f"{_GATE} {line}")
    site.root("backup1", "systemctl start pgbackrest-seal.service")
    facts = site.root("backup1", f"stat -c '%n %U %a' /etc {_ARCHIVE}/rt-*")
    assert "/etc root 755" in facts
    assert f"{_ARCHIVE}/rt-dir pgbackrest 3770" in facts
    assert f"{_ARCHIVE}/rt-once pgbackrest-gate" in facts
    said = site.root("backup1", "journalctl -u pgbackrest-seal.service -o cat --since -1min")
    for name in ("rt-link", "rt-pipe", "rt-once", "rt-twice"):
        assert f"{_ARCHIVE}/{name}'" in said


def test_what_is_not_sealed_is_told_by_a_check(site: Site) -> None:
    site.root("backup1", f"{_GATE} ln -s /etc {_ARCHIVE}/rt-link; sleep 61")
    (found,) = [one for one in site.checks("backup1") if one["name"] == "archived log is sealed"]
    assert not found["ok"]
    assert "rt-link' (a link)" in found["detail"]
