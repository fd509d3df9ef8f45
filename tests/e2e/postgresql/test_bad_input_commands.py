"""Bad words that only PostgreSQL's commands take: one clear sentence, the documented status."""

from __future__ import annotations

import pytest

from tests.e2e.postgresql.hosts import Site
from tests.e2e.refusals import on_controller, refused

pytestmark = pytest.mark.usefixtures("nothing_changes")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("restore run --point FFFF/0 --dry-run", ["recovery window"]),
        ("restore run --point zero --dry-run", ["zero"]),
    ],
)
def test_a_bad_log_position(site: Site, line: str, names: list[str]) -> None:
    done = site.dbops("pg1", *line.split(), ok=False)
    refused(done, 2, *names)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["play", "destroy", "-i", "INV"], ["'destroy'", "restore"]),
        (["play", "../../etc/cron.d/x", "-i", "INV"], ["cron.d"]),
        (["play", "site", "-i", "/nowhere"], ["/nowhere"]),
        (["play", "site", "-i", "INV", "-e", "@/nowhere"], ["/nowhere"]),
        (["play", "site", "-i", "INV", "-e", "--become"], ["NAME=VALUE"]),
        (["fleet", "status"], ["--inventory"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_bad_word_on_the_controller(site: Site, words: list[str], names: list[str]) -> None:
    done = on_controller(site, *[str(site.inventory) if word == "INV" else word for word in words])
    refused(done, 2, *names)
