"""Bad words on the command line: one clear sentence, the documented status, nothing half done."""

from __future__ import annotations

import shlex

import pytest

from tests.e2e.hosts import Site
from tests.e2e.refusals import HOSTILE, on_controller, refused

pytestmark = pytest.mark.usefixtures("nothing_changes")
_OLD = "20200101-000000F"


def _host(site: Site, part: str) -> str:
    return {"member": site.primary(), "repository": site.repository, "drill": site.drill}[part]


@pytest.mark.parametrize(
    ("part", "line", "status", "names"),
    [
        ("member", "check --cluster nowhere", 2, ["'nowhere'", "CLUSTER"]),
        ("member", "check --clutser x", 2, ["--clutser", "--help"]),
        ("member", "chekc", 2, ["chekc"]),
        ("member", "restore run --time yesterday", 2, ["yesterday", "2026-05-01T12:30:00Z"]),
        ("member", "restore run --time 2026-05-01T12:30:00", 2, ["zone"]),
        ("member", "restore run --time 2026-05-01T12:30:00Z --name x", 2, ["one of"]),
        ("member", f"restore run --backup-id {_OLD} --dry-run", 2, [_OLD]),
        ("member", "restore run --confirm CLUSTER", 7, ["running", "stop it"]),
        ("member", "restore run", 7, ["running"]),
        ("member", "restore discard --confirm wrong", 7, ["wrong"]),
        ("drill", "restore run --dry-run", 2, ["member"]),
        ("drill", f"drill run --backup-id {_OLD}", 2, [_OLD]),
        ("drill", "backup take", 2, ["repository"]),
        ("member", "drill run", 2, ["drill"]),
        ("repository", f"backup expire --backup-id {_OLD} --confirm CLUSTER", 2, [_OLD]),
        ("repository", "backup expire --confirm wrong", 7, ["wrong"]),
        ("repository", "backup take --type whole", 2, ["whole", "full"]),
        ("member", "fingerprint --compare /nowhere.json", 2, ["/nowhere.json"]),
        ("member", "fingerprint --compare /etc/hostname", 2, ["/etc/hostname"]),
        ("member", "exporter --listen everywhere", 2, ["everywhere"]),
        ("member", "exporter --listen 0.0.0.0:9699", 7, ["0.0.0.0", "--client-ca"]),
    ],
)
def test_a_bad_word(site: Site, part: str, line: str, status: int, names: list[str]) -> None:
    words = line.replace("CLUSTER", site.cluster).split()
    done = site.dbops(_host(site, part), *words, ok=False)
    refused(done, status, *[name.replace("CLUSTER", site.cluster) for name in names])
    assert done.stdout == ""


@pytest.mark.parametrize("name", [*HOSTILE, "a\nb", "x" * 300])
def test_a_hostile_name_on_the_command_line(site: Site, name: str) -> None:
    for host, lines in (
        (site.members[0], (
            ["check", f"--cluster={name}"],
            ["restore", "run", f"--backup-id={name}", "--dry-run"],
            ["restore", "run", f"--point={name}", "--dry-run"],
        )),
        (site.drill, (["drill", "run", f"--backup-id={name}"],)),
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
        (["play", "site", "-i", "INV", "-e", "ENGINE_backup_password=x"], ["@FILE"]),
        (["fleet", "status", "-i", "INV", "--limit", "nobody"], ["nobody"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_bad_word_on_the_controller(site: Site, words: list[str], names: list[str]) -> None:
    given = [word.replace("ENGINE", site.engine) for word in words]
    given = [str(site.inventory) if word == "INV" else word for word in given]
    refused(on_controller(site, *given), 2, *names)
