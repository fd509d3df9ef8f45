"""Hosts that have nothing yet, not even package lists: a dry run tells all, a play fetches them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import fleet
from lab.fleet import Lab
from tests.e2e import state
from tests.e2e.hosts import Site
from tests.e2e.mysql import hosts as mysql
from tests.e2e.postgresql import hosts as postgresql
from tests.e2e.redis import hosts as redis

SITES: dict[str, type[Site]] = {one.Site.engine: one.Site for one in (postgresql, redis, mysql)}
_PACKAGES = "dpkg-query -W; ls /var/lib/apt/lists"
# The lists are a cache of the lab's, which other labs find there again.
_HIDE = """
cd /var/lib/apt/lists
mkdir .kept
find . -mindepth 1 -maxdepth 1 ! -name .kept -exec mv -t .kept {} +
"""
_SHOW = """
cd /var/lib/apt/lists
find .kept -mindepth 1 -maxdepth 1 -exec mv -t . {} +
rmdir .kept
touch -d @0 .
"""


@pytest.fixture(params=sorted(SITES))
def bare(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Return hosts of an engine as they come from an image."""
    name, release = os.environ.get("DBOPS_LAB", "test"), os.environ.get("DBOPS_LAB_RELEASE")
    lab = Lab(f"{name}-bare", release or "bookworm", (request.param,))
    fleet.up(lab)
    site = SITES[request.param](lab)
    for host in site.hosts:
        site.root(host, _HIDE)
    yield site
    for host in site.hosts:
        site.root(host, _SHOW)
    fleet.down(lab)


def test_a_dry_run_on_bare_hosts_says_what_it_would_do(bare: Site) -> None:
    before = {host: state.files(bare, host) for host in bare.hosts}
    packages = {host: bare.root(host, _PACKAGES) for host in bare.hosts}
    play = bare.run_play("site", "--check", "--diff")
    assert set(play.changed) == set(bare.hosts)
    assert {f"dbops : Install the packages on {host}" for host in bare.hosts} <= set(play.changes)
    assert state.changes(before, {host: state.files(bare, host) for host in bare.hosts}) == []
    assert {host: bare.root(host, _PACKAGES) for host in bare.hosts} == packages


@pytest.mark.parametrize("bare", ["redis"], indirect=True)
def test_a_play_fetches_lists_that_an_image_was_made_without(bare: Site) -> None:
    """They were removed a moment ago: to Ansible's apt their folder looks fresh."""
    host = bare.members[0]
    assert bare.root(host, "ls /var/lib/apt/lists") == ""
    bare.run_play("provision")
    assert "redis-server" in bare.root(host, "dpkg-query -W redis-server")
