"""dbops against BGSAVE and a copy by hand, at about 1 GB; and what clients notice of a backup."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.measuring import Hosts, Row, interleaved
from demo.redis import RedisFleet

ENGINES = ("redis",)
CLUSTER = RedisFleet.cluster
PRIMARY = RedisFleet.members[0]
REPOSITORY = RedisFleet.repository
KEYS, BATCH = 1_000_000, 10_000
HOME = f"/var/lib/dbops-repository/{CLUSTER}"
SOCKET = f"/run/dbops-redis-replica-{CLUSTER}/redis.sock"
AS_REPOSITORY = f"runuser -u {RedisFleet.account} --"
_FILL = (
    "for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do local parts = {} "
    "for part = 1, 22 do parts[part] = redis.sha1hex(n .. ':' .. part) end "
    "redis.call('SET', 'bench:' .. n, table.concat(parts)) end"
)
# Sends writes without pause until the file is gone, then prints the 99th percentile in ms.
_CLIENT = """
import pathlib, sys, time
from redis import Redis
password = pathlib.Path("/etc/dbops/secrets/redis-CLUSTER-admin.password").read_text().strip()
socket = "/run/dbops-redis-CLUSTER/redis.sock"
client = Redis(unix_socket_path=socket, username="dbops_admin", password=password)
stop, taken, number = pathlib.Path(sys.argv[1]), [], 0
while stop.exists():
    began = time.perf_counter()
    client.set(f"bench:{number % 1000}", "x" * 880)
    taken.append(time.perf_counter() - began)
    number += 1
    time.sleep(0.001)
taken.sort()
print(1000 * taken[len(taken) * 99 // 100])
""".replace("CLUSTER", CLUSTER)


class Bench(Hosts):
    """What is done on Redis's hosts; each method returns wall seconds unless it says otherwise."""

    variables: ClassVar = {"dbops_memory_bytes": 4 << 30}

    def call(self, words: str) -> str:
        """Run redis-cli on the primary, as administrator."""
        return self.on(
            PRIMARY,
            f"REDISCLI_AUTH=$(cat /etc/dbops/secrets/redis-{CLUSTER}-admin.password) redis-cli -e "
            f"-s /run/dbops-redis-{CLUSTER}/redis.sock --user dbops_admin {words}",
        )

    def fill(self) -> None:
        """Fill the primary unless it is, and wait until the hidden replica has all of it.

        No log backup runs from here on: the first one would take a full backup of its own.
        """
        unit = f"dbops-backup-{CLUSTER}@log"
        self.on(
            REPOSITORY,
            f"systemctl stop {unit}.timer; while [ "
            f'"$(systemctl show -P ActiveState {unit}.service)" = activating ]; do sleep 1; done',
        )
        there = int(self.call("DBSIZE")) >= KEYS
        for first in () if there else range(1, KEYS, BATCH):
            self.call(f'EVAL "{_FILL}" 0 {first} {first + BATCH - 1}')
        self.call("WAIT 2 120000")
        held = int(self.call("DBSIZE"))
        assert held >= KEYS, f"only {held} of {KEYS} keys came in"

    def backup(self) -> float:
        """Take a full backup through dbops, listed, without a fingerprint."""
        words = "dbops backup take --type full --no-fingerprint"
        return self.timed(REPOSITORY, f"{AS_REPOSITORY} {words}")

    def backup_by_hand(self) -> float:
        """Let the same replica save a snapshot and copy it to the same disk."""
        key = f"/etc/dbops/secrets/redis-{CLUSTER}-backup.password"
        ask = f"redis-cli -s {SOCKET} --user dbops_backup --no-auth-warning"
        # The replica knows this command by a name of its own.
        name = f"sed -n 's/^rename-command BGSAVE //p' /etc/dbops-redis/{CLUSTER}/commands.conf"
        return self.timed(
            REPOSITORY,
            f"export REDISCLI_AUTH=$(cat {key}); {ask} $({name} | tr -d '\"'); "
            f"while {ask} INFO persistence | grep -q bgsave_in_progress:1; do sleep 0.05; done; "
            f"cp {HOME}/replica/dump.rdb /var/lib/dbops-repository/bare.rdb; "
            "sync -f /var/lib/dbops-repository/bare.rdb",
        )

    def latency(self, script: str) -> float:
        """Return the 99th percentile of a write's milliseconds on the primary during ``script``."""
        self.on(PRIMARY, f"touch /run/bench; cat > /root/bench.py <<'END'\n{_CLIENT}\nEND")
        self.on(
            PRIMARY, "nohup /opt/dbops/bin/python /root/bench.py /run/bench >/root/bench.out 2>&1 &"
        )
        self.on(REPOSITORY, script)
        self.on(PRIMARY, "rm /run/bench; sleep 1")
        return float(self.on(PRIMARY, "cat /root/bench.out"))


def _backup(bench: Bench) -> list[Row]:
    bench.fill()
    bench.backup()
    bench.backup_by_hand()
    ours, peer = interleaved(bench.backup, bench.backup_by_hand)
    what = "Redis: full backup, no fingerprint, against BGSAVE and cp on the same replica, s"
    return [Row(what, ours, peer, "1.10")]


def _latency(bench: Bench) -> list[Row]:
    bench.fill()
    take = f"{AS_REPOSITORY} dbops backup take --type full --no-fingerprint >/dev/null 2>&1"
    ours, peer = interleaved(lambda: bench.latency(take), lambda: bench.latency("sleep 15"))
    return [
        Row("Redis: 99th percentile of a write during a backup, against none, ms", ours, peer, "-")
    ]


def _fingerprint(bench: Bench) -> list[Row]:
    bench.fill()
    rates = bench.fingerprint_rates(REPOSITORY, RedisFleet.account, CLUSTER)
    return [Row("Redis: fingerprint, MB/s of memory", rates, [], "-")]


PARTS = {"backup": _backup, "latency": _latency, "fingerprint": _fingerprint}
