"""What was changed by hand is told by --check and taken back, and no client notices."""

from __future__ import annotations

from tests.e2e.redis.hosts import CLUSTER, Load, Site
from tests.e2e.state import changes, state

_TOLD = (
    "-maxmemory 52428800",
    "-user rogue on nopass ~* +@all",
    "-user evil on nopass ~* +@all",
    '-maxmemory-policy "allkeys-lru"',
    "-down-after-milliseconds 99999",
    f"/etc/dbops/targets/{CLUSTER}.json",
    f"dbops-backup-{CLUSTER}@log.timer",
)


def _drift(site: Site) -> None:
    primary, replica = site.primary(), site.replica()
    # Of the replica, which ignores it: the primary would refuse the client's writes.
    site.ask(replica, "CONFIG", "SET", "maxmemory", "50mb")
    site.ask(primary, "ACL", "SETUSER", "rogue", "on", "nopass", "~*", "+@all")
    site.ask(primary, "ACL", "SETUSER", "flights_writer", ">hackedhackedhacked", "+flushall")
    folder = f"/etc/dbops-redis/{CLUSTER}"
    site.root(replica, f"echo 'user evil on nopass ~* +@all' >> {folder}/users.acl")
    site.root(replica, f"sed -i s/noeviction/allkeys-lru/ {folder}/server.conf")
    site.root(site.drill, f"chmod 0644 /etc/dbops/targets/{CLUSTER}.json")
    site.root(site.repository, f"systemctl disable --now dbops-backup-{CLUSTER}@log.timer")
    site.sentinel(primary, "SENTINEL", "SET", CLUSTER, "down-after-milliseconds", "99999")


def test_what_was_changed_by_hand_is_told_then_taken_back_under_load(load: Load) -> None:
    site = load.site
    clean = state(site)
    with load.running():
        load.more(50)
        _drift(site)
        drifted = state(site)
        assert len(changes(clean, drifted)) > 6
        told = site.run_play("site", "--check", "--diff")
        assert changes(drifted, state(site)) == [], "--check changed something"
        for words in _TOLD:
            assert words in told.output, f"--check --diff says nothing of {words}"
        assert "hackedhacked" not in told.output
        site.run_play("site")
        load.more(50)
    assert changes(clean, state(site)) == []
    load.nothing_lost()
    assert load.uninterrupted(), "taking accounts back dropped a client"


def test_nobody_gets_in_without_tls_certificate_and_password(whole: Site) -> None:
    primary = whole.primary()
    address = whole.lab.address(primary)
    tls = "--tls --cacert /etc/dbops/tls/ca.crt"
    certificate = "--cert /etc/dbops/tls/client.crt --key /etc/dbops/tls/client.key"
    for port in (6379, 26379):
        for options, said in (
            ("", "reset by peer"),
            (tls, "certificate required"),
            (f"{tls} {certificate}", "NOAUTH"),
        ):
            line = f"timeout 5 redis-cli -h {address} -p {port} {options} PING 2>&1 || true"
            answer = whole.root(whole.repository, line, ok=False)
            assert "PONG" not in answer, (port, options)
            assert said in answer or "closed" in answer or "error" in answer.lower(), answer


def test_applications_may_do_nothing_dangerous(whole: Site) -> None:
    primary = whole.primary()
    for user in ("flights_writer", "flights_reader"):
        for words in (
            ("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("DEBUG", "SLEEP", "1"),
            ("REPLICAOF", "NO", "ONE"), ("ACL", "LIST"), ("KEYS", "*"), ("SET", "other", "1"),
        ):  # fmt: skip
            answer = whole.ask(primary, "ACL", "DRYRUN", user, *words, ok=False)
            assert "permissions" in answer, (user, words, answer)
    assert (
        whole.ask(primary, "ACL", "DRYRUN", "flights_writer", "HSET", "flights:x", "a", "b") == "OK"
    )
