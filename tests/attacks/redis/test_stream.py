"""As root on the primary: what it adds to the stream of the hidden replica gives it no orders."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.hosts import wait
from tests.e2e.redis.hosts import CLUSTER, Site

_PROGRAM = Path(__file__).with_name("between.py")
_UNIT = "attack-between"
_ORDERS = (
    "ACL SETUSER attacker on >attacker ~* &* +@all",
    "CONFIG SET appendfsync no",
    "REPLICAOF NO ONE",
    "EVAL \"return redis.call('SET', 'attacker', '1')\" 0",
)
_END = ("SHUTDOWN NOSAVE NOW FORCE",)


@contextmanager
def _between(site: Site, orders: tuple[str, ...]) -> Iterator[None]:
    """Let the primary's host give orders to the hidden replica; then make the fleet whole."""
    primary = site.primary()
    address, victim = site.lab.address(primary), site.lab.address(site.repository)
    bound = site.ask(primary, "CONFIG", "GET", "bind").splitlines()[1]
    program, said = "/root/between.py", "/root/between.out"
    text = "\n".join(orders)
    site.root(primary, f"cat > {program} <<'END'\n{_PROGRAM.read_text(encoding='utf-8')}\nEND")
    site.root(primary, f"cat > /root/between.orders <<'END'\n{text}\nEND")
    argv = ["python3", program, address, "6379", victim, "/root/between.orders"]
    try:
        site.ask(primary, "CONFIG", "SET", "bind", "127.0.0.1")
        started = f"systemd-run --unit={_UNIT} --property=StandardOutput=truncate:{said} "
        site.root(primary, started + shlex.join(argv))
        wait(lambda: "listening" in site.root(primary, f"cat {said}"), 20, "it listens")
        site.ask(primary, "CLIENT", "KILL", "TYPE", "replica")
        wait(lambda: "sent" in site.root(primary, f"cat {said}"), 60, "the orders were sent")
        yield
    finally:
        site.root(primary, f"systemctl stop {_UNIT}; rm -f /root/between.*")
        site.ask(primary, "CONFIG", "SET", "bind", bound)
        site.ask(primary, "CLIENT", "KILL", "TYPE", "replica")
        site.root(site.repository, f"systemctl restart dbops-redis-replica-{CLUSTER}")
        site.wait_whole()
        site.take("full")


def _logs_in(site: Site) -> bool:
    socket = f"/run/dbops-redis-replica-{CLUSTER}/redis.sock"
    line = f"REDISCLI_AUTH=attacker redis-cli -s {socket} --user attacker PING"
    return "PONG" in site.root(site.repository, line, ok=False)


@pytest.mark.parametrize("orders", [_ORDERS, _END], ids=["orders", "end"])
def test_the_hidden_replica_takes_no_orders_from_its_primary(
    site: Site, orders: tuple[str, ...]
) -> None:
    service = f"dbops-redis-replica-{CLUSTER}"
    process = f"systemctl show -P MainPID {service}"
    before = site.root(site.repository, process)
    with _between(site, orders):
        assert not _logs_in(site), "the primary made an account on the hidden replica"
        assert site.root(site.repository, process) == before, "the primary ended the replica"
        found = {one["name"]: one for one in site.checks(site.repository)}
        assert not found["log is carried out whole"]["ok"], found
        failed = site.take("full", ok=False)
        assert failed.status == 6, failed.said
        assert "taken over" in failed.said, failed.said
    found = {one["name"]: one for one in site.checks(site.repository)}
    assert found["hidden replica is as declared"]["ok"], found
    assert found["log is carried out whole"]["ok"], found
