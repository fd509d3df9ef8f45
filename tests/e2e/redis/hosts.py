"""Redis's hosts under test, and a client that keeps a ledger."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from redis import RedisError

from demo import ledger, redis_data
from demo.redis import RedisFleet
from lab import faults
from lab.machine import LabError
from tests.e2e import hosts
from tests.e2e.hosts import wait
from tests.e2e.restic import site as restic

FLAVOR = os.environ.get("DBOPS_REDIS_FLAVOR", "redis")
CLUSTER = RedisFleet.cluster
MEMBERS = RedisFleet.members
SECRETS = f"/etc/dbops/secrets/redis-{CLUSTER}"
FOLDER = f"/etc/dbops-redis/{CLUSTER}"
_TIMER = f"dbops-backup-{CLUSTER}@log.timer"

# Of 336,776 flights, which the demo has: each backup, restart and proof here reads every key.
ROWS = redis_data.rows(most=50_000)


class Site(RedisFleet, restic.Site):
    """The lab's Redis hosts, or Valkey's."""

    controls = ("RD", 25)
    rows = ROWS
    profiles = frozenset({"RD-21"})  # a container's kernel is the machine's
    data = f"/var/lib/{FLAVOR}/{CLUSTER}"
    program = f"{FLAVOR}-server"
    ports = (6379, 22)
    held = frozenset({f"{FOLDER}/rejoin.json", f"{FOLDER}/secret.conf"})
    told = (
        "-maxmemory 52428800",
        "-user rogue on nopass ~* +@all",
        "-user evil on nopass ~* +@all",
        '-maxmemory-policy "allkeys-lru"',
        "-down-after-milliseconds 99999",
        f"/etc/dbops/targets/{CLUSTER}.json",
        _TIMER,
    )
    tear = (
        "for i in $(seq 600); do pids=$(pgrep -x restic) && break; sleep 0.02; done; "
        "kill -9 $pids $(pgrep -f '[d]bops backup take'); [ -z \"$pids\" ] || echo torn"
    )

    def ask(self, host: str, *words: str, ok: bool = True) -> str:
        """Return the answer of the server of ``host`` to its administrator."""
        replica = host == self.repository
        socket = f"/run/dbops-redis-{'replica-' if replica else ''}{CLUSTER}/redis.sock"
        account = "backup" if replica else "admin"
        return self._call(host, socket, f"dbops_{account}", f"{SECRETS}-{account}.password", *words,
                          ok=ok)  # fmt: skip

    def sentinel(self, host: str, *words: str, ok: bool = True) -> str:
        """Return the answer of the Sentinel of ``host``."""
        socket = f"/run/dbops-redis-sentinel-{CLUSTER}/sentinel.sock"
        account = ("dbops_sentinel", f"{SECRETS}-sentinel.password")
        return self._call(host, socket, *account, *words, ok=ok)

    def _call(
        self, host: str, socket: str, user: str, password_file: str, *words: str, ok: bool
    ) -> str:
        line = shlex.join([f"{FLAVOR}-cli", "-s", socket, "--user", user, *words])
        return self.root(host, f"REDISCLI_AUTH=$(cat {password_file}) {line}", ok=ok)

    def inside(self, host: str) -> str:
        """Return accounts and settings of the server on ``host``."""
        if host not in MEMBERS:
            return ""
        settings = self.ask(host, "CONFIG", "GET", "*")
        return self.ask(host, "ACL", "LIST") + "\n" + settings

    def roles(self) -> dict[str, str]:
        """Return what each member says that it is; "" when it does not answer."""
        return {host: self.ask(host, "ROLE", ok=False).partition("\n")[0] for host in MEMBERS}

    def primary(self) -> str:
        """Return the member that accepts writes; AssertionError unless it is exactly one."""
        states = self.roles()
        found = [host for host, state in states.items() if state == "master"]
        assert len(found) == 1, f"not exactly one primary: {states}"
        return found[0]

    def named(self) -> set[str]:
        """Return the members that the Sentinels name as primary."""
        query = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", CLUSTER)
        found = {
            self.sentinel(host, *query, ok=False).partition("\n")[0]
            for host in (*MEMBERS, self.repository)
        }
        by_address = {self.lab.address(host): host for host in MEMBERS}
        return {by_address.get(address, address) for address in found}

    def whole(self) -> bool:
        """Return whether all follow one primary and the Sentinels agree on it."""
        try:
            primary = self.primary()
        except (AssertionError, LabError):
            return False
        links = [
            self.ask(host, "INFO", "replication", ok=False)
            for host in (self.replica(), self.repository)
        ]
        quorum = self.sentinel(primary, "SENTINEL", "CKQUORUM", CLUSTER, ok=False)
        return (
            all("master_link_status:up" in link for link in links)
            and all(f"master_host:{self.lab.address(primary)}" in link for link in links)
            and self.named() == {primary}
            and quorum.startswith("OK 3")
        )

    def take(self, kind: str = "full", ok: bool = True) -> hosts.Done:
        """Take a backup on the repository host; the timer's own is waited for unless not ``ok``.

        A log backup takes a full one when the hidden replica has copied everything anew.
        """
        for _ in range(120):
            done = super().take(kind, ok=False)
            if not ok or done.status != 8:
                break
            time.sleep(1)
        assert not ok or done.status == 0, f"dbops backup take --type {kind}: {done.said}"
        return done

    def store_log(self) -> None:
        """Store what was written until now, as the timer does each minute."""
        self.take("log")

    def promote(self, dead: str) -> None:
        """See the Sentinels make the other member the primary."""
        other = {host for host in MEMBERS if host != dead}
        wait(lambda: self.named() - {""} == other, 60, "the failover")

    def drift(self) -> None:
        """Change settings, accounts, units and files by hand, on every host."""
        primary, replica = self.primary(), self.replica()
        # Of the replica, which ignores it: the primary would refuse the client's writes.
        self.ask(replica, "CONFIG", "SET", "maxmemory", "50mb")
        self.ask(primary, "ACL", "SETUSER", "rogue", "on", "nopass", "~*", "+@all")
        self.ask(primary, "ACL", "SETUSER", "flights_writer", ">hackedhackedhacked", "+flushall")
        self.root(replica, f"echo 'user evil on nopass ~* +@all' >> {FOLDER}/users.acl")
        self.root(replica, f"sed -i s/noeviction/allkeys-lru/ {FOLDER}/server.conf")
        self.root(self.drill, f"chmod 0644 /etc/dbops/targets/{CLUSTER}.json")
        self.root(self.repository, f"systemctl disable --now {_TIMER}")
        self.sentinel(primary, "SENTINEL", "SET", CLUSTER, "down-after-milliseconds", "99999")

    def heal(self) -> None:
        """Make the cluster whole again after a test that broke it."""
        running = self.powered()
        for host in self.hosts:
            if host not in running:
                faults.start(self.lab, host)
        try:
            wait(self.whole, 20, "the cluster")
        except AssertionError:
            self._mend()
        self.wait_whole()

    def _mend(self) -> None:
        for host in (*MEMBERS, self.repository):
            self.root(host, "systemctl start 'dbops-redis*'", ok=False)
        if not self.settings_there() or "master" in self.roles().values():
            self.run_play("provision", "--limit", "redis")
            self.run_play("replicate", "--limit", "redis")
            self.root(self.repository, f"systemctl start dbops-backup-{CLUSTER}@log.service",
                      ok=False)  # fmt: skip
            return
        for host in MEMBERS:
            self.root(host, f"systemctl stop dbops-redis-{CLUSTER}", ok=False)
        self.run_play("restore", "-e", f"dbops_confirm={CLUSTER}")

    def settings_there(self) -> bool:
        """Return whether the members have been set up."""
        return bool(self.root(MEMBERS[0], "ls /etc/dbops/targets || true", ok=False))

    def load(self) -> None:
        """Fill the five tables unless they are there."""
        with self.application().connect() as client:
            redis_data.load(client, most=max(self.rows.values()))

    def writer(self, path: Path) -> Load:
        """Return a writer whose ledger is ``path``, not yet running."""
        return Load(self, path)


class Load(hosts.Load):
    """A writer whose numbers are the times of its writes."""

    site: Site

    def stored(self) -> dict[int, float]:
        """Return the writes of this ledger's writer in the database; waits out a failover."""

        def there() -> bool:
            try:
                self._there = super(Load, self).stored()
            except RedisError:
                return False
            return True

        wait(there, 60, "the database answers")
        return self._there

    _there: dict[int, float]

    def uninterrupted(self) -> bool:
        """Return whether the writer was never disconnected or refused."""
        return not ledger.read(self.ledger).failures
