"""What happens to a backup and to the repository: killed, full, away, flipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab import faults
from tests.e2e.redis.hosts import CLUSTER, Load, Site

_REPOSITORY = f"/var/lib/dbops-repository/{CLUSTER}"
_LOGS = f"dbops-backup-{CLUSTER}@log"


@contextmanager
def without_timer(site: Site) -> Iterator[None]:
    """Let the timer of log backups begin none, and the one that runs come to its end."""
    waited = f"while systemctl is-active {_LOGS}.service | grep -q activating; do sleep 0.2; done"
    site.root(site.repository, f"systemctl stop {_LOGS}.timer; {waited}")
    try:
        yield
    finally:
        site.root(site.repository, f"systemctl start {_LOGS}.timer")


def _ids(site: Site) -> list[str]:
    return [backup["backup_id"] for backup in site.backups() if backup["kind"] == "full"]


def test_a_backup_killed_half_way_is_never_listed_and_the_next_one_succeeds(load: Load) -> None:
    site = load.site
    before = _ids(site)
    with load.running(), without_timer(site):
        load.more(50)
        running = site.start(site.repository, "backup", "take", "--type", "full")
        killed = site.root(
            site.repository,
            "for i in $(seq 600); do pids=$(pgrep -x restic) && break; sleep 0.02; done; "
            "kill -9 $pids $(pgrep -f '[d]bops backup take'); echo killed $pids",
        )
        assert killed.split()[1:], "no restic was seen running"
        assert running.wait(30) != 0
        assert _ids(site) == before
        site.take("full")
        load.more(50)
    assert len([one for one in _ids(site) if one not in before]) == 1
    site.dbops(site.repository, "backup", "verify")
    site.dbops(site.drill, "drill", "run")
    load.nothing_lost()


def test_a_full_repository_fails_the_backup_clearly_and_works_again_after_relief(
    load: Load,
) -> None:
    site = load.site
    before = _ids(site)
    folder = f"{_REPOSITORY}/restic"
    used = int(site.root(site.repository, f"du -sm {folder} | cut -f1"))
    with load.running():
        load.more(50)
        with (
            without_timer(site),
            faults.small_disk(site.lab, site.repository, folder, used + 8),
        ):
            faults.fill(site.lab, site.repository, folder)
            failed = site.take("full", ok=False)
            assert failed.status not in (0, 1), failed.said
            assert "no space" in failed.said.lower(), failed.said
            assert _ids(site) == before
            faults.relieve(site.lab, site.repository, folder)
        site.take("full")
        assert _ids(site)[-1] not in before
        load.more(50)
    site.dbops(site.repository, "backup", "verify")
    load.nothing_lost()


def test_the_repository_s_host_away_for_a_while_costs_nothing(load: Load) -> None:
    site = load.site
    primary = site.primary()
    with load.running():
        load.more(50)
        with faults.frozen(site.lab, site.repository):
            load.more(200)
        load.more(50)
        site.wait_whole()
        site.store_log()
    assert site.primary() == primary
    assert site.dbops(site.repository, "backup", "list", "--json").json()["window"]["newest"]
    load.nothing_lost()


def test_one_flipped_byte_is_found_and_named_by_verify_and_drill(load: Load) -> None:
    site = load.site
    site.take("full")
    packs = f"find {_REPOSITORY}/restic/data -type f -printf '%s %p\\n' | sort -n | tail -1"
    file = site.root(site.repository, packs).split()[-1]
    script = (
        "import sys; f = open(sys.argv[1], 'r+b'); f.seek(0, 2); p = f.tell() // 2; f.seek(p); "
        "b = f.read(1); f.seek(p); f.write(bytes([b[0] ^ 4]))"
    )
    flip = f'chmod u+w {file}; python3 -c "{script}" {file}'
    site.root(site.repository, flip)
    try:
        verified = site.dbops(site.repository, "backup", "verify", ok=False)
        named = [label for label in _ids(site) if f"backup {label}" in verified.said]
        assert named, verified.said
        red = site.dbops(site.drill, "drill", "run", "--backup-id", named[-1], ok=False)
    finally:
        site.root(site.repository, flip)
    assert verified.status == 6, verified.said
    assert red.status == 6, red.said
    site.dbops(site.repository, "backup", "verify")
    site.dbops(site.drill, "drill", "run")


def test_a_member_can_only_read_the_repository(whole: Site) -> None:
    member = whole.members[0]
    options = whole.settings(member)["options"]
    known = f"-o UserKnownHostsFile={options['repo_known_hosts']}"
    login = f"{options['repo_user']}@{options['repo_host']}"
    sftp = f"sftp -q -b - -i {options['repo_ssh_key']} {known} {login}"
    listing = whole.root(member, f"echo 'ls {options['repo_path']}' | {sftp}")
    assert "config" in listing
    for line in (f"rm {options['repo_path']}/config", "put /etc/hostname /x",
                 f"ls /{CLUSTER}/replica", f"ls /{CLUSTER}/stage"):  # fmt: skip
        answer = whole.root(member, f"echo '{line}' | {sftp} 2>&1; echo status $?", ok=False)
        assert answer.splitlines()[-1] != "status 0", (line, answer)
    shell = sftp.replace("sftp -q -b -", "ssh -o BatchMode=yes") + " id"
    assert "uid=" not in whole.root(member, f"timeout 10 {shell} 2>&1 || true", ok=False)
