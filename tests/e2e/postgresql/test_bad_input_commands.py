"""Bad words on the command line: one clear sentence, the documented status, nothing half done."""

from __future__ import annotations

import shlex

import pytest

from tests.e2e.postgresql.hosts import Site
from tests.e2e.refusals import HOSTILE, on_controller, refused

pytestmark = pytest.mark.usefixtures("nothing_changes")
_OLD = "20200101-000000F"


@pytest.mark.parametrize(
    ("host", "line", "status", "names"),
    [
        ("pg1", "check --cluster nowhere", 2, ["'nowhere'", "flights"]),
        ("pg1", "check --clutser flights", 2, ["--clutser", "--help"]),
        ("pg1", "chekc", 2, ["chekc"]),
        ("pg1", "restore run --time yesterday", 2, ["yesterday", "2026-05-01T12:30:00Z"]),
        ("pg1", "restore run --time 2026-05-01T12:30:00", 2, ["zone"]),
        (
            "pg1",
            "restore run --time 2001-01-01T00:00:00Z --dry-run",
            2,
            ["recovery window", "to 2"],
        ),
        (
            "pg1",
            "restore run --time 2999-01-01T00:00:00Z --dry-run",
            2,
            ["recovery window", "to 2"],
        ),
        ("pg1", "restore run --point FFFF/0 --dry-run", 2, ["recovery window"]),
        ("pg1", "restore run --point zero --dry-run", 2, ["zero"]),
        ("pg1", "restore run --time 2026-05-01T12:30:00Z --name x", 2, ["one of"]),
        ("pg1", f"restore run --backup-id {_OLD} --dry-run", 2, [_OLD]),
        ("pg1", "restore run --confirm flights", 7, ["running", "stop it"]),
        ("pg1", "restore run", 7, ["running"]),
        ("pg1", "restore discard --confirm flight", 7, ["flight"]),
        ("drill1", "restore run --dry-run", 2, ["member"]),
        ("drill1", f"drill run --backup-id {_OLD}", 2, [_OLD]),
        ("drill1", "backup take", 2, ["repository"]),
        ("pg1", "drill run", 2, ["drill"]),
        ("backup1", f"backup expire --backup-id {_OLD} --confirm flights", 2, [_OLD]),
        ("backup1", "backup expire --confirm flight", 7, ["flight"]),
        ("backup1", "backup take --type whole", 2, ["whole", "full"]),
        ("pg1", "fingerprint --compare /nowhere.json", 2, ["/nowhere.json"]),
        ("pg1", "fingerprint --compare /etc/hostname", 2, ["/etc/hostname"]),
        ("pg1", "exporter --listen everywhere", 2, ["everywhere"]),
        ("pg1", "exporter --listen 0.0.0.0:9699", 7, ["0.0.0.0", "--client-ca"]),
    ],
)
def test_a_bad_word(site: Site, host: str, line: str, status: int, names: list[str]) -> None:
    done = site.dbops(host, *line.split(), ok=False)
    refused(done, status, *names)
    assert done.stdout == ""


@pytest.mark.parametrize("name", [*HOSTILE, "a\nb", "x" * 300])
def test_a_hostile_name_on_the_command_line(site: Site, name: str) -> None:
    for host, lines in (
        ("pg1", (
            ["check", f"--cluster={name}"],
            ["restore", "run", f"--backup-id={name}", "--dry-run"],
            ["restore", "run", f"--point={name}", "--dry-run"],
        )),
        ("drill1", (["drill", "run", f"--backup-id={name}"],)),
    ):  # fmt: skip
        for words in lines:
            done = site.root(host, f'dbops {shlex.join(words)} 2>&1 >/dev/null; echo "status $?"')
            said = done.splitlines()
            assert len(said) == 2, done
            assert said[0].startswith("dbops: "), done
            assert "Unexpected" not in said[0]
            assert said[1] == "status 2", done


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["play", "destroy", "-i", "INV"], ["'destroy'", "restore"]),
        (["play", "../../etc/cron.d/x", "-i", "INV"], ["cron.d"]),
        (["play", "site", "-i", "/nowhere"], ["/nowhere"]),
        (["play", "site", "-i", "INV", "-e", "@/nowhere"], ["/nowhere"]),
        (["play", "site", "-i", "INV", "-e", "postgresql_backup_password=x"], ["@FILE"]),
        (["play", "site", "-i", "INV", "-e", "--become"], ["NAME=VALUE"]),
        (["fleet", "status", "-i", "INV", "--limit", "nobody"], ["nobody"]),
        (["fleet", "status"], ["--inventory"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_bad_word_on_the_controller(site: Site, words: list[str], names: list[str]) -> None:
    done = on_controller(site, *[str(site.inventory) if word == "INV" else word for word in words])
    refused(done, 2, *names)
