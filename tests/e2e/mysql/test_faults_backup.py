"""What happens to a backup and to the repository: killed, full, away, tampered with, incomplete."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from lab import faults
from tests.e2e.hosts import Load, wait
from tests.e2e.mysql.hosts import CLUSTER, CONFIRM, Site

_HOME = f"/var/lib/dbops-repository/{CLUSTER}"
_RESTIC = f"{_HOME}/restic"


def _site(load: Load) -> Site:
    assert isinstance(load.site, Site)
    return load.site


def _ids(site: Site) -> list[str]:
    return [one["backup_id"] for one in site.listed() if one["kind"] != "log"]


def _attempt(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        site.root("backup3", f"cat /var/lib/dbops/{CLUSTER}/backup-status.json")
    )
    return found


def test_a_backup_killed_half_way_is_never_listed_and_the_next_one_succeeds(load: Load) -> None:
    site = _site(load)
    before = _ids(site)
    with load.running():
        load.more(50)
        running = site.start("backup3", "backup", "take", "--type", "full")
        # Half way: the stream runs. What is killed is the sender, on the member, then the rest.
        found = site.root(
            "backup3",
            "for i in $(seq 400); do pgrep -f '[d]bops-stream@' >/dev/null && break; sleep 0.05; "
            "done; sleep 1; pkill -9 -f '[d]bops-stream@' && echo torn",
        )
        assert found == "torn"
        assert running.wait(120) != 0
        assert _ids(site) == before
        assert _attempt(site)["kinds"]["full"]["last_result"] == 0
        site.take("full")
        load.more(50)
    assert len([one for one in _ids(site) if one not in before]) == 1
    assert site.dbops("backup3", "backup", "verify").status == 0
    site.dbops("drill3", "drill", "run")
    load.nothing_lost()


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


def test_a_full_repository_fails_the_backup_clearly_and_works_again_after_relief(
    load: Load,
) -> None:
    site = _site(load)
    before = _ids(site)
    readers = f"'dbops-binlog-{CLUSTER}@*.service' 'dbops-backup-{CLUSTER}@*.timer'"
    used = int(site.root("backup3", f"du -sm {_HOME} | cut -f1"))
    units = site.root("backup3", f"systemctl list-units --plain --no-legend {readers} "
                      "| cut -d' ' -f1").replace("\n", " ")  # fmt: skip
    with load.running():
        load.more(50)
        site.root("backup3", f"systemctl stop {units}")
        try:
            with faults.small_disk(site.lab, "backup3", _HOME, used + 24):
                site.root("backup3", f"systemctl start {units}")
                faults.fill(site.lab, "backup3", _HOME)
                failed = site.take("full", ok=False)
                assert failed.status not in (0, 1), failed.said
                assert "o space left" in failed.said, failed.said
                load.more(50)
                faults.relieve(site.lab, "backup3", _HOME)
                assert _ids(site) == before
                site.root("backup3", f"systemctl stop {units}")
        finally:
            site.root("backup3", f"systemctl start {units}")
        load.more(50)
    site.wait_archived()
    site.take("incremental")
    assert site.dbops("backup3", "backup", "verify").status == 0
    load.nothing_lost()


def test_the_repository_s_host_away_for_a_while_costs_no_log(load: Load) -> None:
    site = _site(load)
    with load.running():
        load.more(50)
        faults.kill(site.lab, "backup3")
        for host in site.members:
            site.ask(host, "FLUSH LOCAL BINARY LOGS")
        load.more(200)
        faults.start(site.lab, "backup3")
        load.more(50)
    site.wait_archived(180)
    hole = [one for one in site.checks("backup3") if "hole" in one["name"]]
    assert hole
    assert all(one["ok"] for one in hole), hole
    site.take("incremental")
    site.dbops("drill3", "drill", "run")
    load.nothing_lost()


def test_a_flipped_byte_is_named_by_verify_and_the_drill_is_red(load: Load) -> None:
    site = _site(load)
    site.take("full")
    # The largest packs hold the streams.
    packs = site.root(
        "backup3", f"find {_RESTIC}/data -type f -size +16k -printf '%s %p\n' | sort -rn | head -40"
    )
    paths = [line.split()[1] for line in packs.splitlines()]
    flip = (
        "python3 - $p <<'E'\nimport sys\nwith open(sys.argv[1], 'r+b') as f:\n"
        "    f.seek(4096); b = f.read(1); f.seek(4096); f.write(bytes([b[0] ^ 1]))\nE\n"
    )
    every = " ".join(paths)
    site.root("backup3", f"for p in {every}; do chmod u+w $p; {flip} done")
    try:
        verified = site.dbops("backup3", "backup", "verify", ok=False)
        assert verified.status == 6, verified.said
        assert any(path.rsplit("/", 1)[1][:8] in verified.said for path in paths), verified.said
        drilled = site.dbops("drill3", "drill", "run", ok=False)
        assert drilled.status == 6, drilled.said
    finally:
        site.root("backup3", f"for p in {every}; do {flip} done")
    assert site.dbops("backup3", "backup", "verify").status == 0
    assert site.dbops("drill3", "drill", "run").status == 0


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
        play = site.run_play("restore", *CONFIRM, "-e", f"mysql_restore_time={moment}", ok=False)
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
