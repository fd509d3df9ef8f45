"""A key in the home of a server's or the kit's account lets nobody in."""

from __future__ import annotations

import pytest

from tests.attacks.logins import let_in, tried
from tests.e2e.postgresql.hosts import Site


@pytest.mark.parametrize(
    ("host", "account"),
    [
        ("pg1", "postgres"),
        ("pg1", "dbops"),
        ("backup1", "pgbackrest"),
        ("backup1", "pgbackrest-gate"),
    ],
)
def test_a_key_in_the_home_of_an_account_lets_nobody_in(
    site: Site, host: str, account: str
) -> None:
    said = tried(site, host, account)
    assert not let_in(said), said
