"""A key in the home of a server's or the kit's account lets nobody in."""

from __future__ import annotations

import pytest

from tests.attacks.logins import let_in, tried
from tests.e2e.redis.hosts import Site


@pytest.mark.parametrize(
    ("host", "account"),
    [
        ("redis1", "redis"),
        ("redis1", "dbops"),
        ("backup2", "dbops-repository"),
        ("drill2", "redis"),
    ],
)
def test_a_key_in_the_home_of_an_account_lets_nobody_in(
    site: Site, host: str, account: str
) -> None:
    said = tried(site, host, account)
    assert not let_in(said), said
