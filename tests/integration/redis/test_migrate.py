"""A whole server moves over TLS while a writer is at work, is proven, and can go back."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.engines.redis import client, migrate, rdb
from dbops.engines.redis import migrate_link as link
from dbops.engines.redis.options import Options
from dbops.errors import (
    CommandFailed,
    ConfigError,
    DbopsError,
    Refused,
    Unreachable,
    VerificationFailed,
)
from dbops.migrate import note
from dbops.targets import Target
from tests.integration import ports
from tests.integration.redis import certificates
from tests.integration.redis.server import Server, wait
from tests.integration.redis.test_content import DATA

PASSWORD = "a-password-of-the-tests-and-no-other"
ADMIN = f"dbops_admin on >{PASSWORD} ~* &* +@all"
MIGRATE = (
    f"dbops_migrate on >{PASSWORD} -@all +ping +psync +replconf +info +role +client|pause "
    "+client|unpause"
)


class Side:
    """One cluster of one member, which speaks TLS only and lets nobody in without a log-in."""

    def __init__(self, folder: Path, name: str, program: Path) -> None:
        self.folder, self.name, self.port = folder / name, name, ports.free()
        tls = folder / "tls"
        self.server = Server(
            self.folder,
            program,
            0,
            tls_port=str(self.port),
            tls_cert_file=str(tls / "host.crt"),
            tls_key_file=str(tls / "host.key"),
            tls_ca_cert_file=str(tls / "ca.crt"),
            tls_auth_clients="yes",
            tls_replication="yes",
            masteruser="dbops_replication",
            masterauth="something-else-altogether",
            include=str(self.folder / "migration*.conf"),
        )
        self.server.accounts = ("default off", ADMIN, MIGRATE)
        self.password = folder / "password"
        self.server.login = ("dbops_admin", self.password)

    def restart(self) -> None:
        """Stop the server properly and start it again.

        It refuses to end while it writes its first append-only file, which follows a copy.
        """
        names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        wait(
            lambda: all(self.server.info("persistence")[name] == "0" for name in names),
            "the append-only file is written",
        )
        self.server.stop()
        self.server.start()

    def target(self, other: Side, bin_dir: Path, flavor: str) -> Target:
        """Return this side's target."""
        tls = self.folder.parent / "tls"
        return Target.model_validate(
            {
                "schema_version": 1,
                "engine": "redis",
                "cluster": self.name,
                "part": "member",
                "member": "db1",
                "version": "7.0",
                "members": ("db1",),
                "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
                "state_dir": self.folder / "state",
                "options": {
                    "flavor": flavor,
                    "bin_dir": bin_dir,
                    "os_user": "root",
                    "data_dir": self.server.data,
                    "config_file": self.folder / "server.conf",
                    "socket": self.server.socket,
                    "admin_password_file": self.password,
                    "ca_file": tls / "ca.crt",
                    "link_certificate": tls / "host.crt",
                    "link_key": tls / "host.key",
                    "agent_certificate": tls / "host.crt",
                    "agent_key": tls / "host.key",
                    "hosts": {"db1": "127.0.0.1"},
                    "port": self.port,
                    "migrate_hosts": {"db2": "127.0.0.1"},
                    "migrate_port": other.port,
                    "migrate_password_file": self.password,
                    "migrate_ca_file": tls / "ca.crt",
                },
            }
        )


class Pair:
    """The sending and the receiving side."""

    def __init__(self, old: Side, new: Side, bin_dir: Path, flavor: str) -> None:
        self.old, self.new = old, new
        self.sends = old.target(new, bin_dir, flavor)
        self.receives = new.target(old, bin_dir, flavor)

    def run(self, target: Target, *steps: Any) -> None:
        """Carry out steps of the migration on one side."""
        for step in steps:
            runner.run(migrate.plan_migrate(target, step), on_line=lambda line: None)


@pytest.fixture
def pair(folder: Path, options: Options, bin_dir: Path) -> Iterator[Pair]:
    """Two sides, the old one with data."""
    certificates.make(folder / "tls")
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    old, new = (Side(folder, name, options.server) for name in ("old", "new"))
    try:
        for side in (old, new):
            side.folder.mkdir()
            side.server.start()
        old.server.run(*DATA)
        yield Pair(old, new, bin_dir, options.flavor)
    finally:
        for side in (old, new):
            side.server.kill()


class Moving:
    """A writer that goes to whichever side takes its writes, and counts the acknowledged ones."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.written = pair, 0
        self.errors: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Moving:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for side in itertools.cycle((self.pair.old, self.pair.new)):
            try:
                with side.server.connect() as connection:
                    while not self._over.is_set():
                        connection.ask("RPUSH", "numbers", self.written)
                        self.written += 1
                        time.sleep(0.002)
            except DbopsError as error:
                self.errors.add(str(error))
                time.sleep(0.01)
            if self._over.is_set():
                return


@pytest.fixture
def other_kind(folder: Path) -> Iterator[dict[str, Side]]:
    """A server of Redis and one of Valkey, where both are installed."""
    programs = {name: shutil.which(f"{name}-server") for name in ("redis", "valkey")}
    if None in programs.values():
        pytest.skip("redis-server and valkey-server are not both installed")
    certificates.make(folder / "tls")
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    sides = {name: Side(folder, name, Path(str(path))) for name, path in programs.items()}
    try:
        for side in sides.values():
            side.folder.mkdir()
            side.server.start()
        yield sides
    finally:
        for side in sides.values():
            side.server.kill()


@pytest.mark.parametrize(("sends", "receives"), [("redis", "valkey"), ("valkey", "redis")])
def test_from_one_product_to_the_other(
    other_kind: dict[str, Side], sends: str, receives: str
) -> None:
    """What can be read moves, proven; what cannot is refused with both versions, and stays."""
    old, new = other_kind[sends], other_kind[receives]
    old.server.run(*DATA)
    target = new.target(old, Path("/usr/bin"), receives)
    with old.server.connect() as connection, new.server.connect() as other:
        name, version = link.product(connection)
        format_ = link.FORMATS[name, ".".join(version.split(".")[:2])]
        here = link.product(other)[0]
    opts = Options.model_validate(target.options)
    if not rdb.readable(opts, format_):
        with pytest.raises(Refused, match=f"{name} {version}.*{format_}.*{here} .* cannot read"):
            migrate.plan_migrate(target, "start")
        return
    for step in ("prepare", "start", "prove", "switch"):
        runner.run(migrate.plan_migrate(target, step), on_line=lambda line: None)
    assert new.server.run(("GET", "text")) == [b"value"]


def numbers(side: Side) -> list[int]:
    """Return what the writer has written, as one side has it."""
    return [int(one) for one in side.server.run(("LRANGE", "numbers", 0, -1))[0]]


def test_there_and_back_again(pair: Pair) -> None:
    with Moving(pair) as writer:
        pair.run(pair.sends, "prepare")
        pair.run(pair.receives, "prepare", "start", "prove")
        assert migrate.migration(pair.receives).databases[0].follows
        assert migrate.migration(pair.receives).proven_at is not None
        pair.run(pair.receives, "switch")
        pair.run(pair.sends, "follow")
        before = writer.written
        wait(lambda: writer.written > before + 20, "the writer has moved")
        wait(lambda: len(numbers(pair.old)) > before, "the old side follows")
        assert migrate.migration(pair.receives).databases[0].open
        pair.run(pair.sends, "prove", "switch")
        pair.run(pair.receives, "follow")
        before = writer.written
        wait(lambda: writer.written > before + 20, "the writer is back")
    found = numbers(pair.old)
    assert sorted(set(found)) == list(range(max(found) + 1)), "an acknowledged write is missing"
    assert writer.written <= len(found)
    pair.run(pair.receives, "finish")
    pair.run(pair.sends, "finish")
    for side in (pair.old, pair.new):
        with side.server.connect() as connection:
            assert connection.config("masterauth", "replica-priority") == {
                "masterauth": "something-else-altogether",
                "replica-priority": "100",
            }
    closed(pair.new)
    pair.new.restart()
    closed(pair.new)
    assert not (pair.old.folder / link.HELD).exists()


def closed(side: Side) -> None:
    """See that a side is a primary that refuses writes."""
    with side.server.connect() as connection, pytest.raises(CommandFailed, match="NOREPLICAS"):
        connection.ask("SET", "by mistake", 1)


def test_what_a_migration_sets_holds_after_a_restart(pair: Pair) -> None:
    pair.run(pair.receives, "start")
    held = pair.new.folder / link.HELD
    assert held.stat().st_mode & 0o777 == 0o640
    pair.new.restart()
    with pair.new.server.connect() as connection:
        assert connection.config("masterauth", "replica-priority") == {
            "masterauth": PASSWORD,
            "replica-priority": "0",
        }


def test_a_side_that_cannot_read_the_newer_server_keeps_its_copy(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.run(pair.receives, "start", "prove", "switch")
    keys = pair.old.server.run(("DBSIZE",))
    monkeypatch.setattr(link, "unreadable", lambda opts, theirs: "it is newer")
    pair.run(pair.sends, "follow")
    closed(pair.old)
    with pytest.raises(Refused, match="it is newer"):
        pair.run(pair.sends, "prove")
    pair.run(pair.sends, "follow", "finish")
    pair.run(pair.receives, "finish")
    pair.old.restart()
    closed(pair.old)
    assert pair.old.server.run(("DBSIZE",)) == keys
    with pytest.raises(Refused, match="left by a migration"):
        pair.run(pair.sends, "start")
    assert not migrate.migration(pair.sends).databases[0].open


def test_a_difference_forbids_the_switch(pair: Pair) -> None:
    pair.run(pair.receives, "start")
    pair.new.server.run(("CONFIG", "SET", "replica-read-only", "no"), ("SADD", "set", "stray"))
    with pytest.raises(VerificationFailed, match="the first is set of database '0'"):
        pair.run(pair.receives, "prove")
    with pytest.raises(Refused, match="not proven equal"):
        pair.run(pair.receives, "switch")


def test_a_side_that_holds_keys_is_not_replaced(pair: Pair) -> None:
    pair.new.server.run(("SET", "mine", 1))
    with pytest.raises(Refused, match="holds keys already"):
        pair.run(pair.receives, "start")
    assert pair.new.server.run(("GET", "mine")) == [b"1"]


def test_only_a_side_that_was_left_can_follow(pair: Pair) -> None:
    with pytest.raises(Refused, match="does not go on from"):
        pair.run(pair.sends, "follow")


def test_a_switch_that_cannot_be_opens_the_other_side_again(pair: Pair, monkeypatch: Any) -> None:
    pair.run(pair.receives, "start", "prove")

    def never(*about: Any) -> None:
        raise DbopsError("The last writes did not arrive.")

    monkeypatch.setattr(link, "wait_applied", never)
    with pytest.raises(DbopsError, match="takes writes as before"):
        pair.run(pair.receives, "switch")
    pair.old.server.run(("SET", "still", 1))


def test_a_switch_that_is_killed_once_this_side_leads_is_ended_by_the_next(
    pair: Pair, monkeypatch: Any
) -> None:
    pair.run(pair.receives, "start", "prove")
    lead = link.lead

    def killed(*about: Any) -> None:
        lead(*about)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(link, "lead", killed)
        with pytest.raises(KeyboardInterrupt):
            pair.run(pair.receives, "switch")
    assert "switching" in note.read(pair.receives)
    pair.run(pair.receives, "switch")
    assert not {"switching", "proven_at"} & note.read(pair.receives).keys()
    pair.run(pair.sends, "follow")
    with pytest.raises(Refused, match="follows no other one"):
        pair.run(pair.receives, "switch")


def test_a_server_with_another_certificate_is_not_spoken_to(pair: Pair, folder: Path) -> None:
    certificates.make(folder / "foreign")
    opts = Options.model_validate(pair.receives.options)
    foreign = opts.model_copy(update={"ca_file": folder / "foreign" / "ca.crt"})
    client.at_address(opts, "127.0.0.1", pair.old.port, "dbops_migrate", pair.old.password).close()
    with pytest.raises(Unreachable, match="certificate verify failed"):
        client.at_address(foreign, "127.0.0.1", pair.old.port, None, None)
    with pytest.raises(Unreachable, match="does not answer"):
        client.at_address(opts, "localhost", pair.old.port, None, None)


def test_a_wrong_password_is_told_without_it(pair: Pair, folder: Path) -> None:
    wrong = folder / "wrong"
    wrong.write_text("not-the-password\n")
    wrong.chmod(0o600)
    opts = Options.model_validate(pair.receives.options)
    with pytest.raises(DbopsError, match=r"WRONGPASS|invalid username-password") as caught:
        client.at_address(opts, "127.0.0.1", pair.old.port, "dbops_migrate", wrong)
    assert "not-the-password" not in str(caught.value)
    wrong.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        client.at_address(opts, "127.0.0.1", pair.old.port, "dbops_migrate", wrong)
