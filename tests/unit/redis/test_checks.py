"""Whether a member's data are there, from its files alone."""

from __future__ import annotations

from pathlib import Path

from dbops.engines.redis import aof, checks_member, options
from tests.unit.redis.made import target


def test_data_that_are_gone_are_told_of(tmp_path: Path) -> None:
    logged = {"appendonly": "yes"}
    opts = options.read(target(tmp_path, data_dir=str(tmp_path), expected_settings=logged))
    (gone,) = checks_member.data(opts)
    assert not gone.ok
    assert "does not start as primary" in gone.hint
    aof.lay_out(tmp_path / aof.FOLDER)
    (there,) = checks_member.data(opts)
    assert there.ok
    cache = options.read(target(tmp_path / "none", data_dir=str(tmp_path / "none")))
    assert list(checks_member.data(cache)) == []
