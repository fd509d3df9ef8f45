"""Backups: one at a time, both kinds in one catalogue, and refused where they do not belong."""

from __future__ import annotations

from tests.e2e.hosts import Load, wait
from tests.e2e.same.site import Site


def test_of_two_backups_at_once_the_second_ends_with_status_8(whole: Site) -> None:
    before = [backup["backup_id"] for backup in whole.backups()]
    first = whole.start(whole.repository, "backup", "take", "--type", "full")
    lock = f"[ -s /var/lib/dbops/{whole.cluster}/backup.lock ] && echo held"
    held = "the first one's lock"
    wait(lambda: whole.root(whole.repository, lock, ok=False) == "held", 20, held, 0.05)
    second = whole.take("full", ok=False)
    assert second.status == 8, second.said
    assert "running" in second.said
    assert first.wait(180) == 0
    after = [backup["backup_id"] for backup in whole.backups() if backup["kind"] == "full"]
    assert len([one for one in after if one not in before]) == 1


def test_a_full_and_a_log_backup_are_taken_under_load(site: Site, load: Load) -> None:
    before = {one["backup_id"] for one in site.backups() if one["kind"] == "full"}
    with load.running():
        load.more(50)
        site.take("full")
        load.more(50)
        site.take("log")
        load.more(50)
    listed = site.dbops(site.repository, "backup", "list", "--json").json()
    newest = [backup for backup in listed["backups"] if backup["kind"] == "full"][-1]
    manifest = newest["manifest"]
    assert manifest["engine"] == site.engine
    assert manifest["fingerprints"][0]["databases"]
    assert newest["encrypted"] is True
    assert listed["window"]["newest"] >= newest["stop"]
    after = {one["backup_id"] for one in listed["backups"]}
    assert before <= after, "one more within a period of the schedule displaces none"
    load.nothing_lost()


def test_the_newest_full_backup_is_never_expired(whole: Site) -> None:
    fulls = [one["backup_id"] for one in whole.backups() if one["kind"] == "full"]
    for backup_id in fulls[:-1]:
        whole.dbops(
            whole.repository, "backup", "expire", "--backup-id", backup_id, "--confirm",
            whole.cluster, ok=False,
        )  # fmt: skip
    left = [one["backup_id"] for one in whole.backups() if one["kind"] == "full"]
    done = whole.dbops(
        whole.repository, "backup", "expire", "--backup-id", left[-1], "--confirm", whole.cluster,
        ok=False,
    )  # fmt: skip
    if len(left) == 1:
        assert done.status == 7, done.said
        assert left[-1] in done.said
        assert left == [one["backup_id"] for one in whole.backups() if one["kind"] == "full"]
    # What is left has kept its log, whatever was between it and what went.
    whole.dbops(whole.repository, "backup", "verify")
