"""The checks of a host that serves the data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dbops.contract import Check
from dbops.engines.redis import aof, client, members, replication_metrics
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.controls.facts import CONTAINER
from dbops.engines.redis.options import Options
from dbops.targets import Target

MEMORY_SHARE = 0.9


def version(connection: Connection) -> str:
    """Return the server's version."""
    found = connection.info("server")
    return found.get("valkey_version") or found.get("redis_version", "")


def server(target: Target, opts: Options, connection: Connection) -> Iterator[Check]:
    """Yield what the server itself says: memory, files, role, replication."""
    yield from _memory(connection)
    yield from _files(opts, connection)
    yield from _replication(target, connection)


def _memory(connection: Connection) -> Iterator[Check]:
    found = connection.info("memory")
    limit, used = int(found.get("maxmemory", "0")), int(found.get("used_memory", "0"))
    detail = f"{used / 2**20:.0f} MiB used, {limit / 2**20:.0f} MiB allowed"
    yield Check("memory has a limit", limit > 0, detail, "run provision")
    evicts = found.get("maxmemory_policy", "noeviction") != "noeviction"
    ok = evicts or limit == 0 or used < MEMORY_SHARE * limit
    yield Check("memory is not used up", ok, detail, "raise the limit before writes are refused")


def _files(opts: Options, connection: Connection) -> Iterator[Check]:
    found = connection.info("persistence")
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    bad = [name for name in names if found.get(name, "ok") != "ok"]
    detail = ", ".join(bad) or "the last writes succeeded"
    yield Check("data reach the disk", not bad, detail, "look at the disk and the server's log")
    yield carried_out(connection)
    if opts.purpose == "store":
        on = found.get("aof_enabled") == "1"
        detail = "append-only files are on" if on else "append-only files are off"
        yield Check("every write is logged", on, detail, "run provision")


def carried_out(connection: Connection) -> Check:
    """Whether the server did everything that its files and its primary told it to."""
    lost = client.discarded(connection.info("stats"))
    detail = f"{lost} commands were refused since it started" if lost else "nothing was refused"
    hint = "see the server's log for CRITICAL, then restore, or rebuild a replica"
    return Check("log is carried out whole", not lost, detail, hint)


def _replication(target: Target, connection: Connection) -> Iterator[Check]:
    found = connection.info("replication")
    if found.get("role") == "master":
        yield Check("role", True, "primary")
        there = replication_metrics.replicas(target, found)
        wanted = [name for name in target.members if name != target.member]
        missing = [name for name in wanted if name not in there]
        detail = ", ".join(missing) + " missing" if missing else f"{len(there)} of {len(wanted)}"
        yield Check("replicas are connected", not missing, detail, "run replicate")
        return
    yield Check("role", True, "replica")
    status = found.get("master_link_status", "unknown")
    detail = f"the link is {status}"
    yield Check("replica receives", status == "up", detail, "look at the link to the primary")


def sentinels(target: Target, opts: Options) -> Iterator[Check]:
    """Whether the Sentinels answer, agree on one primary, and could elect another."""
    if not opts.sentinels:
        return
    name = opts.sentinel_name or target.cluster

    def word(connection: Connection) -> str:
        found = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        return f"={text(found[0])}:{text(found[1])}" if found else f"it does not know {name}"

    said = members.sentinels(opts, word)
    told = {one for one in said.values() if one.startswith("=")}
    silent = [f"{host}: {one}" for host, one in said.items() if not one.startswith("=")]
    detail = "; ".join(silent) or f"{len(said)} of {len(opts.sentinels)}"
    yield Check("Sentinels answer", not silent, detail, "start the service and read its log")
    agreed = ", ".join(sorted(one[1:] for one in told)) or "none named"
    yield Check("Sentinels agree on one primary", len(told) == 1, agreed, "run replicate")
    votes = sum(one.startswith("=") for one in said.values())
    detail = f"{votes} of {len(opts.sentinels)} answer"
    yield Check("a failover could be agreed on", 2 * votes > len(opts.sentinels), detail, "mend it")


def data(opts: Options) -> Iterator[Check]:
    """Whether the files that a server which logs each write starts from are there."""
    if opts.expected_settings.get("appendonly") != "yes":
        return
    manifest = opts.require_path("data_dir") / aof.FOLDER / f"{aof.NAME}.manifest"
    try:
        size = manifest.stat().st_size
    except PermissionError:
        return  # another account than root asks
    except FileNotFoundError:
        size = 0
    hint = "it does not start as primary without them: let another member be it, or restore"
    yield Check("data are on the disk", size > 0, str(manifest), hint)


def kernel() -> Iterator[Check]:
    """What the kernel must allow for a server that forks to write its data."""
    value = Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip()
    hint = "set vm.overcommit_memory to 1 on this host, or the fork for a rewrite may be refused"
    foreign = value != "1" and CONTAINER.exists()
    detail = f"it is {value}" + (", and the machine's around this container" if foreign else "")
    yield Check("memory can be overcommitted", value == "1" or foreign, detail, hint)
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if path.exists():
        match = re.search(r"\[(\w+)\]", path.read_text(encoding="ascii"))
        word = match[1] if match else "unknown"
        detail = f"transparent huge pages are {word}"
        hint = "set them to madvise or never: latency and memory suffer during a rewrite"
        yield Check("huge pages are not forced", word != "always", detail, hint)
