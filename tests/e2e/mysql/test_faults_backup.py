"""A stream that is torn on the member, a log with a hole, and a member that asks for more."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tests.e2e.hosts import Load, wait
from tests.e2e.mysql.hosts import CLUSTER, CONFIRM, Site

_HOME = f"/var/lib/dbops-repository/{CLUSTER}"


def _site(load: Load) -> Site:
    assert isinstance(load.site, Site)
    return load.site


def _ids(site: Site) -> list[str]:
    return [one["backup_id"] for one in site.listed() if one["kind"] != "log"]


def test_a_sender_killed_on_the_member_leaves_nothing_either(load: Load) -> None:
    site = _site(load)
    before = _ids(site)
    running = site.start("backup3", "backup", "take", "--type", "full")
    torn = ""
    for _ in range(60):
        torn = "".join(
            site.root(host, "pkill -9 -x mariadb-backup && echo torn", ok=False)
            for host in site.members
        )
        if torn or running.poll() is not None:
            break
        time.sleep(0.2)
    assert "torn" in torn, "there was no sender to kill"
    assert running.wait(120) != 0
    assert _ids(site) == before
    site.take("full")


def test_a_missing_log_in_the_middle_is_refused_and_nothing_is_replaced(load: Load) -> None:
    site = _site(load)
    site.take("full")
    with load.running():
        load.more(50)
        for _ in range(3):
            for host in site.members:
                site.ask(host, "FLUSH LOCAL BINARY LOGS")
            load.more(30)
        wanted = max(load.acknowledged.values())  # in the newest file, with more to come
        time.sleep(2)
        load.more(30)
    site.wait_archived()
    # A member's own log would fill the hole, and be right to.
    for host in site.members:
        newest = site.ask(host, "SHOW BINARY LOGS").splitlines()[-1].split()[0]
        site.ask(host, f"PURGE BINARY LOGS TO '{newest}'")
    members = site.root("backup3", f"cd {_HOME}/binlog && ls -d */ | tr -d /").split()
    files = {
        member: site.root("backup3", f"ls {_HOME}/binlog/{member}/*/binlog.* | tail -3 | head -1")
        for member in members
    }
    timers = f"dbops-backup-{CLUSTER}@log.timer"
    site.root("backup3", f"systemctl stop {timers}")
    for path in files.values():
        site.root("backup3", f"mv {path} /root/$(echo {path} | tr / _)")
    try:
        site.dbops("backup3", "backup", "take", "--type", "log", ok=False)
        assert [c for c in site.checks("backup3") if not c["ok"] and "hole" in c["name"]]
        inode = "stat -c %i /var/lib/mysql/main"
        before = {host: site.root(host, inode) for host in site.members}
        moment = datetime.fromtimestamp(wanted, UTC).isoformat()
        play = site.run_play("restore", *CONFIRM, "-e", f"dbops_restore_time={moment}", ok=False)
        assert play.status != 0
        assert "is gone" in play.said or "is missing" in play.said, play.last_lines
        assert before == {host: site.root(host, inode) for host in site.members}
        assert site.whole(), "a restore that cannot be done has stopped the cluster"
    finally:
        for path in files.values():
            site.root("backup3", f"mv /root/$(echo {path} | tr / _) {path}")
        site.root("backup3", f"systemctl start {timers}")
    site.heal()
    wait(lambda: site.take("log", ok=False).status == 0, 60, "the log is whole again", 3)
    load.nothing_lost()


def test_a_taken_over_member_can_ask_for_nothing_but_a_stream(site: Site) -> None:
    key = site.settings("backup3")["options"]["stream_key"]
    known = site.settings("backup3")["options"]["stream_known_hosts"]
    address = site.lab.address("mysql1")
    ssh = (
        f"runuser -u dbops-repository -- ssh -i {key} -o UserKnownHostsFile={known} "
        f"-o BatchMode=yes dbops-stream@{address}"
    )
    for asked in ("id", "full; id", "incremental 1; id", "''", "incremental -1", "sh"):
        said = site.root("backup3", f"cd /; {ssh} {asked!r} 2>&1; echo status $?", ok=False)
        assert said.endswith("status 64"), (asked, said)
        assert "uid=" not in said
    forward = f"cd /; timeout 5 {ssh} -N -L 9999:127.0.0.1:3306 & sleep 2; "
    reach = "(exec 3<>/dev/tcp/127.0.0.1/9999 && head -c 60 <&3)"
    probe = site.root("backup3", forward + reach, ok=False)
    assert "MariaDB" not in probe
