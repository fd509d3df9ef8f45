"""What ``dbops check`` says of a member's data directory, asked of a real server."""

from __future__ import annotations

import shutil
from pathlib import Path

from psycopg import sql

from dbops.contract import Check
from dbops.engines.postgresql import checks_member, options
from tests.integration.cluster import PORT, Cluster
from tests.unit.postgresql import made


def looked_at(cluster: Cluster, folder: Path) -> dict[str, Check]:
    """Return the checks of the data directory by their names."""
    target = made.target(
        folder,
        "member",
        socket_dir=str(cluster.directory),
        config_dir=str(cluster.directory),
        port=PORT,
        monitor_user="postgres",
        agent_user=cluster.directory.owner(),
    )
    return {one.name: one for one in checks_member.data(options.read(target))}


def test_a_tablespace_and_a_copy_that_did_not_end_are_told_beforehand(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert all(one.ok for one in looked_at(cluster, tmp_path).values())
    place = cluster.directory / "space"
    place.mkdir()
    shutil.chown(place, cluster.directory.owner())
    cluster.run(sql.SQL("CREATE TABLESPACE fast LOCATION {}").format(str(place)))
    (tmp_path / "main.unfinished").touch()
    try:
        found = looked_at(cluster, tmp_path)
    finally:
        cluster.run("DROP TABLESPACE fast")
    outside = found["no tablespace is outside"]
    assert (outside.ok, outside.detail) == (False, f"fast in {place}")
    assert not found["data directory is whole"].ok
