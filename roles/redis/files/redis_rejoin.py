"""Run by systemd before a member's server starts: ask the Sentinels whose replica it is now.

A former primary that comes back would be a second one until the Sentinels have seen it; what it
is sent in that time is lost. So it starts as a replica when enough Sentinels name another primary.
One that would come back empty (a cache, or a store whose data are gone) waits while the Sentinels
still hold it for the primary of live replicas, which would empty themselves after it. A store that
had data once never starts as an empty primary, whatever the Sentinels say. Nothing else is done
when they do not know the cluster (a new one, or one that is being restored) or too few answer.

Standard library only; this host may have no agent yet.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from collections import Counter
from typing import Any

TIMEOUT_SECONDS = 1.0


class Sentinel:
    """A logged-in connection to one Sentinel."""

    def __init__(self, host: str, config: dict[str, Any]) -> None:
        context = ssl.create_default_context(cafile=config["ca_file"])
        context.load_cert_chain(config["certificate"], config["key"])
        plain = socket.create_connection((host, config["sentinel_port"]), TIMEOUT_SECONDS)
        self._stream = context.wrap_socket(plain, server_hostname=host).makefile("rwb")
        self.call("AUTH", config["user"], config["password"])

    def call(self, *words: str) -> Any:
        """Send one command and return its answer; OSError when it is refused."""
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
        self._stream.write(b"*%d\r\n%s" % (len(words), parts))
        self._stream.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._stream.readline()
        kind, text = line[:1], line[1:].strip().decode()
        if kind == b"*":
            return [self._answer() for _ in range(int(text))]
        if kind == b"$":
            return self._stream.read(int(text) + 2)[:-2].decode() if int(text) >= 0 else None
        if kind in (b"+", b":"):
            return text
        raise OSError(text or "no answer")


def ask(config: dict[str, Any]) -> tuple[Counter[tuple[str, str]], int]:
    """Return how many Sentinels name which primary, and the most live replicas that one sees."""
    votes: Counter[tuple[str, str]] = Counter()
    live = 0
    for host in config["sentinels"]:
        try:
            sentinel = Sentinel(host, config)
            named = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", config["cluster"])
            if named:
                votes[(named[0], named[1])] += 1
                listed = sentinel.call("SENTINEL", "REPLICAS", config["cluster"])
                flags = [dict(zip(one[::2], one[1::2], strict=True))["flags"] for one in listed]
                live = max(live, sum(flag == "slave" for flag in flags))
        except OSError as error:
            print(f"the Sentinel on {host} did not answer: {error}", file=sys.stderr)
    return votes, live


def remembered(path: str) -> tuple[str, str] | None:
    """Return whom the server followed last."""
    with open(path, encoding="utf-8") as stream:
        words = [line.split() for line in stream]
    found = [(line[1], line[2]) for line in words if len(line) == 3 and line[0] == "replicaof"]
    return found[-1] if found and found[-1] != ("no", "one") else None


def remember(path: str, primary: tuple[str, str] | None) -> None:
    """Write whom the server follows and nothing else.

    CONFIG REWRITE leaves a copy of each setting there, also of one that is declared no more.
    """
    text = f"replicaof {primary[0]} {primary[1]}\n" if primary else ""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)


def main() -> int:
    """Decide; return 1 when the server must not start yet."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        config = json.load(stream)
    votes, live = ask(config)
    (primary, count), *_ = votes.most_common(1) or [(("", ""), 0)]
    decided = count >= config["quorum"]
    if decided and primary == tuple(config["self"]):
        follows = None
    else:
        follows = primary if decided else remembered(config["state_file"])
    if follows is None:
        why = empty(config, live if decided else 0)
        if why:
            print(why, file=sys.stderr)
            return 1
    elif decided:
        print(f"starts as a replica of {follows[0]} port {follows[1]}")
    remember(config["state_file"], follows)
    return 0


def empty(config: dict[str, Any], live: int) -> str:
    """Return why this member must not start as a primary now: it would be an empty one.

    ``data_file`` is what a server with data has, None for one that keeps nothing on its disk.
    ``begun_file`` is there since one that must have it has run for the first time.
    """
    if config["purpose"] != "cache" and "data_file" not in config:
        return ""  # written by a version before this one
    data_file, begun_file = config.get("data_file"), config.get("begun_file")
    if data_file and os.path.isfile(data_file) and os.path.getsize(data_file):
        return ""
    if live:
        return "would come back empty before its replicas: waits until another member is primary"
    if begun_file and os.path.exists(begun_file):
        return (
            f"its data are gone ({data_file}), so it does not start as primary: let another member "
            f"be it, or restore; to begin with nothing, remove {begun_file}"
        )
    return ""


if __name__ == "__main__":
    sys.exit(main())
