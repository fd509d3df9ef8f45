"""What of a migration needs no server: which definitions are carried, and how the sides connect."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from dbops.engines.postgresql import migrate_link
from dbops.engines.postgresql.migrate_schema import wanted
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError

LISTING = """;
; Archive created at 2026-05-01 12:00:00 UTC
;     dbname: flights
;
6; 2615 16388 SCHEMA - flights flights_owner
7; 2615 16400 SCHEMA - flights archive flights_owner
2; 3079 16390 EXTENSION - pg_trgm 
3; 3079 16391 EXTENSION - pg_trgm_next 
3400; 0 0 COMMENT - EXTENSION pg_trgm 
216; 1259 16389 TABLE flights airlines flights_owner
3402; 0 0 ACL - SCHEMA flights flights_owner
"""  # noqa: W291 pg_restore leaves a space where an extension has no owner


def test_what_the_roles_made_is_not_made_again() -> None:
    kept = wanted(LISTING, {"flights", "public"}, {"pg_trgm", "plpgsql"}).splitlines()
    assert "6; 2615 16388 SCHEMA - flights flights_owner" not in kept
    assert not any(line.endswith("EXTENSION - pg_trgm ") and "COMMENT" not in line for line in kept)
    assert "216; 1259 16389 TABLE flights airlines flights_owner" in kept
    assert "3402; 0 0 ACL - SCHEMA flights flights_owner" in kept
    assert "7; 2615 16400 SCHEMA - flights archive flights_owner" in kept
    assert any("EXTENSION - pg_trgm_next" in line for line in kept)


@pytest.mark.parametrize("name", ["flights", "a;touch x", "Ünï", "x" * 63, '"', "../../etc"])
def test_slots_have_names_that_a_server_takes(name: str) -> None:
    found = migrate_link.slot(name)
    assert len(found) <= 63
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert found != migrate_link.slot(name + "x")


def test_the_other_side_is_reached_over_verified_tls_without_a_secret() -> None:
    options = Options(stanza="new", migrate_hosts={"pg1": "10.0.0.1", "pg2": "10.0.0.2"})
    found = conninfo_to_dict(migrate_link.peer_conninfo(options, "a' b"))
    assert found["host"] == "pg1,pg2"
    assert found["dbname"] == "a' b"
    assert (found["sslmode"], found["target_session_attrs"]) == ("verify-full", "primary")
    assert "password" not in found
    assert str(found["passfile"]).startswith("/etc/dbops/secrets/")


def test_without_a_peer_one_sentence_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="set dbops_migrate_peers"):
        migrate_link.peer_conninfo(Options(stanza="new"), "flights")
