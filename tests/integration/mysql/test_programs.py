"""Programs of a real MySQL through a backup and a restore as root: as written, and nothing run.

MySQL itself is in few distributions: ``DBOPS_TEST_MYSQL`` may name a folder with its mysqld, mysql
and mysqldump.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from dbops.engines.mysql import client, flavor, loading, private_server, refill
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.private_server import Server
from dbops.errors import CommandFailed
from dbops.manifest import Manifest
from dbops.repository.routes import Entry
from dbops.runner import Command, check, check_pipe

_STREAM = """
import sys
from dataclasses import replace
from pathlib import Path
from dbops.engines.mysql import stream
stream.TOOLS["mysql"] = replace(stream.TOOLS["mysql"], places=(Path(sys.argv[1]),))
sys.exit(stream.main(sys.argv[2:]))
"""
_CONFIG = "[mysqld]\nserver-id = 1\ninnodb-buffer-pool-size = 64M\nlower-case-table-names = 0\n"
_ODD = "a\nUSE akept;\nDROP TABLE proof;-- `\\"
# To the server a comment to the end of the line, to a client the end of a statement; what follows
# is both the rest of the first statement and one of its own.
_SMUGGLED = (
    "CREATE PROCEDURE d.smuggle() CREATE TABLE d.x (a VARCHAR(99)) --\x01 ;;\nSELECT d.steal() AS a"
)
_PROOF = ("CREATE DATABASE akept", "CREATE TABLE akept.proof (who VARCHAR(99))")
_STEAL = (
    "CREATE FUNCTION d.steal() RETURNS VARCHAR(99) DETERMINISTIC SQL SECURITY INVOKER "
    "BEGIN INSERT INTO akept.proof VALUES (CURRENT_USER()); RETURN 'x'; END"
)
_MADE = (
    *_PROOF,
    "CREATE DATABASE d COLLATE latin1_swedish_ci",
    "CREATE TABLE d.t (i INT PRIMARY KEY, `c\n;;\nDROP TABLE akept.proof;` VARCHAR(99) "
    "DEFAULT 'x;\nDROP TABLE akept.proof;' COMMENT '\\n;;\\nDROP TABLE akept.proof; -- \\\\', "
    "g VARCHAR(99) AS (CONCAT(i, ';;\nDROP TABLE akept.proof;')), "
    "CHECK (CONCAT(i) <> ';;\nDROP TABLE akept.proof;')) COMMENT '*/;\nDROP TABLE akept.proof;'",
    "INSERT INTO d.t (i) VALUES (1)",
    _STEAL,
    _SMUGGLED,
    "CREATE TRIGGER d.g BEFORE INSERT ON d.t FOR EACH ROW BEGIN --\x01 ;;\nSET @a = 1; END",
    "CREATE TRIGGER d.f BEFORE INSERT ON d.t FOR EACH ROW SET @a = @a + 1",
    "CREATE EVENT d.e ON SCHEDULE EVERY 1 DAY DISABLE DO BEGIN --\x01 ;;\nSELECT 1; END",
    "CREATE VIEW d.b AS SELECT ';;\nDROP TABLE akept.proof;' AS a",
    "CREATE VIEW d.a AS SELECT a, d.steal() AS s FROM d.b",
    "CREATE LIBRARY d.l LANGUAGE JAVASCRIPT AS $$ ;;\nDROP TABLE akept.proof; $$",
    f"CREATE DATABASE {client.name(_ODD)}",
    f"CREATE TABLE {client.name(_ODD)}.{client.name(_ODD[:50])} (i INT)",
    f"CREATE PROCEDURE {client.name(_ODD)}.{client.name(_ODD[:50])}() SELECT 1",
    "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', time_zone = '+05:00'",
    "CREATE PROCEDURE d.quoting() SELECT \"i\", '\\' AS delimiter , 2 FROM d.t",
    "CREATE EVENT d.zoned ON SCHEDULE AT '2037-01-01 00:00:00' DO SELECT '\\'",
    "ALTER DATABASE d COLLATE utf8mb4_0900_ai_ci",
)
_SEEN = (
    "SELECT routine_schema, routine_name, routine_definition, sql_mode, character_set_client, "
    "collation_connection, database_collation, definer FROM information_schema.routines "
    "WHERE routine_schema <> 'sys' ORDER BY 1, 2",
    "SELECT trigger_name, action_statement, action_order, sql_mode, character_set_client, "
    "database_collation, definer FROM information_schema.triggers "
    "WHERE trigger_schema <> 'sys' ORDER BY 1",
    "SELECT event_name, event_definition, sql_mode, time_zone, execute_at, starts, status, "
    "character_set_client, definer FROM information_schema.events ORDER BY 1",
    "SELECT table_name, view_definition, character_set_client, definer "
    "FROM information_schema.views WHERE table_schema <> 'sys' ORDER BY 1",
    "SELECT library_name, library_definition FROM information_schema.libraries",
    "SELECT table_schema, table_name, column_name, column_default, column_comment, "
    "generation_expression FROM information_schema.columns "
    "WHERE table_schema NOT IN ('sys', 'mysql', 'information_schema', 'performance_schema') "
    "ORDER BY 1, 2, ordinal_position",
    "SELECT * FROM akept.proof",
    "SELECT * FROM d.t",
)


@dataclass
class Place:
    """A folder of servers of MySQL, and a stream between them."""

    folder: Path
    dumper: Path
    flavor: flavor.Flavor

    def server(self, name: str) -> Server:
        """Return an empty server to be."""
        root = self.folder / name
        for path in (root, root / "data", root / "run"):
            path.mkdir(mode=0o755)
            shutil.chown(path, "mysql", "mysql")
        config = self.folder / f"{name}.cnf"
        config.write_text(_CONFIG)
        config.chmod(0o644)
        return Server(config, root / "data", root / "run", "mysql", flavor=self.flavor)

    def take(self, at: Server, name: str) -> Entry:
        """Let a server stream into a file."""
        words = ("--flavor", "mysql", "--user", "root", "--socket", str(at.socket))
        argv = (sys.executable, "-c", _STREAM, str(self.dumper), *words)
        lines: list[str] = []
        check_pipe(
            Command(argv, env={"SSH_ORIGINAL_COMMAND": "full zstd"}),
            Command(("dd", f"of={self.folder / 'stream'}", "status=none")),
            lines.append,
        )
        said = flavor.MYSQL.backup_log(lines)
        now = datetime.now(UTC)
        manifest = Manifest(
            engine="mysql", version="9.7", cluster="c", member="m", backup_id="B", kind="full",
            parent_id=None, start=now, stop=now, start_point="@0", stop_point=said.position,
            bytes_read=said.size, bytes_stored=1, encrypted=True, tool="dd", tool_version="1",
            dbops_version="0",
        )  # fmt: skip
        return Entry(manifest=manifest, snapshots={name: "stream"})

    def dump(self, snapshot_id: str, name: str, consumer: Command, progress: Any) -> Any:
        """Feed the file to ``consumer``, as a repository does."""
        return check_pipe(Command(("cat", str(self.folder / snapshot_id))), consumer)[1]

    def restore(self, entry: Entry, at: Server) -> None:
        """Restore as root."""
        way: Any = type("Destination", (), {"entries": (entry,), "manifest": entry.manifest})()
        refill.put_back(cast(Any, self), way, at, self.folder, 60, lambda text: None)


@pytest.fixture
def place(folder: Path) -> Place:
    given = os.environ.get("DBOPS_TEST_MYSQL")
    names = ("mysqld", "mysql", "mysqldump")
    found = [Path(shutil.which(name, path=given) or f"/absent/{name}") for name in names]
    if not found[0].exists() or "MariaDB" in _version(found[0]) or os.geteuid() != 0:
        pytest.skip("MySQL itself is not installed (DBOPS_TEST_MYSQL), or this is not root")
    kind = replace(flavor.MYSQL, server=str(found[0]), client=str(found[1]))
    return Place(folder, found[2], kind)


def _version(program: Path) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


@contextmanager
def _made(place: Place) -> Iterator[tuple[Server, Connection]]:
    at = place.server("source")
    check(private_server.initialize(at))
    with private_server.running(at, 60), at.connect() as connection:
        for statement in _MADE:
            client.rows(connection, statement)
        connection.query("SET character_set_client = latin1, sql_mode = ''")
        connection.select_db("d")
        connection.query(b"CREATE PROCEDURE latin() SELECT '\xe9'")
        connection.query(b"CREATE VIEW latin AS SELECT '\xe9' AS `\xe9`")
        client.rows(connection, "SET NAMES utf8mb4")
        yield at, connection


def _seen(connection: Connection) -> list[Any]:
    return [client.rows(connection, query) for query in _SEEN]


def test_programs_come_back_as_they_were_and_none_is_run(place: Place) -> None:
    with _made(place) as (at, connection):
        before = _seen(connection)
        entry = place.take(at, place.flavor.streams["full"])
    restored = place.server("restored")
    place.restore(entry, restored)
    with private_server.running(restored, 60), restored.connect() as connection:
        assert client.rows(connection, "SELECT * FROM akept.proof") == []
        for query, was, found in zip(_SEEN, before, _seen(connection), strict=True):
            assert found == was, query
        assert client.value(connection, "SELECT a FROM d.a") == ";;\nDROP TABLE akept.proof;"


_FORMER = (
    "--no-defaults", "--user=root", "--all-databases", "--single-transaction", "--source-data=2",
    "--set-gtid-purged=ON", "--routines", "--events", "--triggers", "--hex-blob",
    "--default-character-set=utf8mb4", "--ignore-table=mysql.gtid_executed",
)  # fmt: skip
_NO_GATE = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


@pytest.mark.parametrize("gate", [True, False])
def test_a_former_dump_that_misleads_its_client_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch, gate: bool
) -> None:
    source, restored = place.server("source"), place.server("restored")
    check(private_server.initialize(source))
    with private_server.running(source, 60), source.connect() as connection:
        for statement in (*_PROOF, "CREATE DATABASE d", _STEAL, _SMUGGLED):
            client.rows(connection, statement)
        kept = place.take(source, "base.sql")
        dump = Command((str(place.dumper), *_FORMER, f"--socket={source.socket}"))
        (place.folder / "stream").write_text(check(dump).stdout)
    if gate:
        with pytest.raises(CommandFailed, match="made by an earlier version"):
            place.restore(kept, restored)
        return
    # What the gate keeps away: the restore itself carries the statement out, as root.
    monkeypatch.setattr(loading, "_GATE", _NO_GATE)
    place.restore(kept, restored)
    with private_server.running(restored, 60), restored.connect() as connection:
        assert client.rows(connection, "SELECT who FROM akept.proof") == [("root@localhost",)]
