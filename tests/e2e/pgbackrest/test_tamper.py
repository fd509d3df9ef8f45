"""A database host that was taken over cannot delete or rewrite what the repository has."""

from __future__ import annotations

from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_REPOSITORY = "/var/lib/pgbackrest"
# The account of the gate, with the group that its unit gives it.
_GATE = "setpriv --reuid pgbackrest-gate --regid pgbackrest --clear-groups"


def _seal(site: Site) -> None:
    site.root("backup1", "systemctl start pgbackrest-seal.service")


def _untouched(site: Site, before: dict[str, str]) -> None:
    after = site.tree()
    gone = [path for path in before if path not in after]
    changed = [path for path in before if path in after and after[path] != before[path]]
    added = [path for path in after if path not in before and not path.startswith("./archive/")]
    assert not gone, f"deleted: {gone}"
    assert not changed, f"changed: {changed}"
    assert not added, f"added: {added}"


def test_a_taken_over_member_cannot_delete_or_rewrite_history(load: Load) -> None:
    site = load.site
    primary = site.primary()
    with load.running():
        load.more(50)
    segment = site.wait_archived()
    _seal(site)
    before = site.tree()
    label = site.backups()[-1]["backup_id"]
    stored = next(path for path in before if segment in path)
    backup = f"backup/{CLUSTER}"
    attempts = [
        f"repo-rm {backup}/backup.info",
        f"repo-rm --recurse --force {backup}",
        f"repo-rm --recurse --force archive/{CLUSTER}",
        f"repo-rm {stored.removeprefix('./')}",
        f"repo-put {backup}/backup.info < /etc/passwd",
        f"repo-put --raw {stored.removeprefix('./')} < /etc/passwd",
        f"repo-put --raw {backup}/{label}/dbops.json < /etc/passwd",
        f"repo-put --raw archive/{CLUSTER}/archive.info < /etc/passwd",
        f"--stanza={CLUSTER} stanza-delete --force",
        f"--stanza={CLUSTER} --repo1-retention-full=1 expire --set={label}",
        f"--stanza={CLUSTER} --repo1-retention-full=1 --repo1-retention-archive=1 expire",
        f"--stanza={CLUSTER} --type=full backup",
    ]
    site.root(primary, "rm -f /tmp/pgbackrest/*.stop /run/pgbackrest/*.stop")
    for user in ("root", "postgres"):
        for attempt in attempts:
            line = f"cd /; runuser -u {user} -- timeout 20 pgbackrest {attempt}"
            answer = site.root(primary, f"{line} >/tmp/said 2>&1; echo $?; rm -f /tmp/said")
            assert answer.splitlines()[-1] != "0", f"{user} was let do: pgbackrest {attempt}"
    _untouched(site, before)

    # Another content under a name that the archive has.
    forged = f"/var/lib/postgresql/forged/{segment}"
    data = site.settings(primary)["options"]["data_dir"]
    site.root(
        primary,
        f"install -d -o postgres /var/lib/postgresql/forged; "
        f"cp -a $(ls {data}/pg_wal/{segment[:8]}???????????????? | head -1) {forged}; "
        f"printf X | dd of={forged} bs=1 seek=9000000 conv=notrunc 2>/dev/null; "
        f"chown postgres {forged}",
    )
    answer = site.root(
        primary,
        f"cd /; runuser -u postgres -- pgbackrest --stanza={CLUSTER} --no-archive-async "
        f"--no-archive-header-check archive-push {forged} 2>&1; echo $?; "
        "rm -r /var/lib/postgresql/forged",
    )
    assert answer.splitlines()[-1] != "0", answer
    _untouched(site, before)
    assert [path for path in site.tree() if segment in path] == [stored]
    assert site.dbops("backup1", "backup", "verify").status == 0
    site.wait_archived()
    load.nothing_lost()


def test_the_kernel_refuses_the_account_that_members_talk_to(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
    segment = site.wait_archived()
    _seal(site)
    before = site.tree()
    label = site.backups()[-1]["backup_id"]
    sealed = next(path for path in before if segment in path)
    bundle = next(
        path for path in before if f"{label}/bundle/" in path or f"{label}/pg_data/" in path
    )
    gate = f"{_GATE} -- sh -c"
    site.root("backup1", f"{gate} 'test -r {_REPOSITORY}/{bundle}'")
    for path in (
        sealed, bundle, f"./archive/{CLUSTER}/archive.info", f"./backup/{CLUSTER}/backup.info",
        f"./backup/{CLUSTER}/{label}/dbops.json", f"./backup/{CLUSTER}/{label}/backup.manifest",
    ):  # fmt: skip
        file = f"{_REPOSITORY}/{path.removeprefix('./')}"
        for attempt in (
            f"rm -f {file}", f"mv {file} {file}.gone", f"mv -f /etc/hostname.copy {file}",
            f"echo forged > {file}", f"echo forged >> {file}", f"truncate -s 0 {file}",
            f"chmod 0666 {file}", f"ln -sf /etc/passwd {file}", f"cp -f /etc/hostname {file}",
        ):  # fmt: skip
            status = site.root("backup1", f"{gate} '{attempt}' >/dev/null 2>&1; echo $?")
            assert status != "0", f"the kernel let the gate do: {attempt}"
    for folder in (f"archive/{CLUSTER}", f"backup/{CLUSTER}", f"backup/{CLUSTER}/{label}"):
        line = f"mv {_REPOSITORY}/{folder} {_REPOSITORY}/{folder}.gone"
        assert site.root("backup1", f"{gate} '{line}' 2>/dev/null; echo $?") != "0"
    _untouched(site, before)
