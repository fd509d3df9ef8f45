"""A whole cluster moves to other hosts while a client writes: and back, or to Valkey for good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import RedisError

from demo import redis_data
from demo.redis_data import Application
from lab import fleet
from tests.e2e.hosts import Play, wait
from tests.e2e.redis.hosts import CLUSTER, MEMBERS, ROWS, Site

NEXT = "flights-next"
INVENTORY = fleet.CHECKOUT / "inventories" / "migrate-redis"


@pytest.fixture(scope="module")
def two(site: Site) -> Iterator[Site]:
    """Return the fleet with a second, empty cluster beside it."""
    site.heal()
    wide = replace(site.lab, more=("next1", "vault1"))
    fleet.up(wide)
    both = Site(wide)
    both.beside = ("-i", str(INVENTORY))
    both.run_play("site")
    yield both
    both.remove("next1", "vault1")
    fleet.up(site.lab)


@pytest.fixture
def valkey(two: Site, tmp_path: Path) -> Iterator[Site]:
    """Return the fleet with an empty cluster of Valkey beside it; nothing is left of it after."""
    two.remove("next1", "vault1")
    fleet.up(replace(two.lab, release="trixie"))
    flavor = tmp_path / "flavor.yml"
    flavor.write_text("redis_next: {vars: {redis_flavor: valkey}}\n")
    beside, two.beside = two.beside, (*two.beside, "-i", str(flavor))
    two.run_play("site")
    yield two
    two.beside = beside
    two.remove(*two.lab.hosts)


def _next(site: Site) -> Application:
    """Return how an application reaches the second cluster."""
    sentinels = tuple(site.lab.address(host) for host in ("next1", "vault1"))
    return replace(site.application(), sentinels=sentinels, cluster=NEXT)


def migrate(site: Site, step: str, to: str = NEXT, ok: bool = True, confirm: str = "") -> Play:
    """Run one step of the migration, with the name that it asks for."""
    return site.migrate(step, to, "-e", f"dbops_confirm={confirm or to}", ok=ok)


def _ask(site: Site, host: str, cluster: str, *words: str) -> str:
    """Return what the server of ``cluster`` on ``host`` answers its administrator."""
    secret = f"/etc/dbops/secrets/redis-{cluster}-admin.password"
    socket = f"/run/dbops-redis-{cluster}/redis.sock"
    return site._call(host, socket, "dbops_admin", secret, *words, ok=False)


def _closed(site: Site, host: str, cluster: str) -> bool:
    """Return whether a server is a primary that takes no write."""
    return "NOREPLICAS" in _ask(site, host, cluster, "SET", "flights:mistake", "1")


def _written(application: Application) -> set[int]:
    with application.connect() as client:
        return {int(field) for field in client.hkeys(redis_data.JOURNAL)}


def test_the_switch_asks_for_the_name(two: Site) -> None:
    play = migrate(two, "switch", ok=False, confirm=CLUSTER)
    assert play.status != 0
    assert "exact name" in play.said


def test_there_and_back_loses_nothing(two: Site, tmp_path: Path) -> None:
    load = two.writer(tmp_path / "ledger.txt")
    with load.running():
        load.more(50)
        migrate(two, "start")
        two.run_play("site")  # it undoes nothing of it
        load.more(50)
        migrate(two, "prove")
        load.more(50)
        migrate(two, "switch")
    there = _written(_next(two))
    lost = set(load.acknowledged) - there
    assert not lost, f"{len(lost)} of {len(load.acknowledged)} acknowledged writes are lost"
    with _next(two).connect() as client:
        assert redis_data.counts(client) == ROWS
        client.hset(redis_data.JOURNAL, "1", "written on the other side")
    with pytest.raises(RedisError), two.application().connect() as client:
        client.hset(redis_data.JOURNAL, "2", "written where nobody should")

    migrate(two, "prove", CLUSTER)
    migrate(two, "switch", CLUSTER)
    with two.application().connect() as client:
        assert client.hget(redis_data.JOURNAL, "1") == b"written on the other side"
        assert redis_data.counts(client) == ROWS
    migrate(two, "finish", CLUSTER)
    two.wait_whole()
    assert _closed(two, "next1", NEXT)
    for host in (*MEMBERS, two.repository):
        known = two.sentinel(host, "SENTINEL", "REPLICAS", CLUSTER)
        assert two.lab.address("next1") not in known, f"the Sentinel on {host} would take it back"


def test_from_redis_to_valkey_for_good(valkey: Site, tmp_path: Path) -> None:
    if valkey.lab.release != "bookworm":  # with Redis 8.0, whose files Valkey cannot read
        refused = migrate(valkey, "start", ok=False)
        assert refused.status != 0
        assert "cannot read" in refused.said
        return
    load = valkey.writer(tmp_path / "ledger.txt")
    left, keys = valkey.primary(), _ask(valkey, valkey.primary(), CLUSTER, "DBSIZE")
    with load.running():
        load.more(50)
        migrate(valkey, "start")
        load.more(50)
        migrate(valkey, "prove")
        load.more(50)
        migrate(valkey, "switch")
    there = _written(_next(valkey))
    lost = set(load.acknowledged) - there
    assert not lost, f"{len(lost)} of {len(load.acknowledged)} acknowledged writes are lost"
    with _next(valkey).connect() as client:
        assert redis_data.counts(client) == ROWS
        client.hset(redis_data.JOURNAL, "1", "written on the other side")
    assert _closed(valkey, left, CLUSTER)
    back = migrate(valkey, "prove", CLUSTER, ok=False)
    assert back.status != 0
    assert "Valkey 8.1" in back.said
    assert "cannot read" in back.said
    migrate(valkey, "finish")
    valkey.root(left, f"systemctl restart dbops-redis-{CLUSTER}")
    wait(lambda: _closed(valkey, left, CLUSTER), 30, "the server that was left, closed as it was")
    valkey.run_play("site")
    assert _closed(valkey, left, CLUSTER)
    assert _ask(valkey, left, CLUSTER, "DBSIZE") == keys, "its copy of the data is gone"
    with _next(valkey).connect() as client:
        assert client.hget(redis_data.JOURNAL, "1") == b"written on the other side"
