"""The postgresql role's filters: what a server takes, whatever hosts are called."""

from __future__ import annotations

import re

import pytest

from plugins.filter import postgresql

LONG = "database-member-1.a-quite-long-department-name.of-a-company.example.org"


@pytest.mark.parametrize(
    ("member", "slot"),
    [("pg1", "dbops_pg1"), ("pg-1", "dbops_pg_1"), ("PG1.db-a.example", "dbops_pg1_db_a_example")],
)
def test_a_slot_has_a_name_that_a_server_takes(member: str, slot: str) -> None:
    assert postgresql.slot(member) == slot


def test_long_names_stay_apart() -> None:
    names = {postgresql.slot(LONG), postgresql.slot(LONG.replace("member-1", "member-2"))}
    assert len(names) == 2
    assert all(re.fullmatch("[a-z0-9_]{63}", name) for name in names)
    assert len({postgresql.slot(f"{LONG}{number}") for number in range(2)}) == 2
