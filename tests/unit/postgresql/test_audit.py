"""The controls against settings and rows as a server gives them: what is loose is found."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbops.audit.rules import Finding
from dbops.engines.postgresql import audit, options
from dbops.engines.postgresql.controls import accounts, host, logs, network
from dbops.engines.postgresql.controls.facts import Facts
from dbops.targets import Objectives, Target

pytestmark = pytest.mark.unit

GOOD = {
    "server_version_num": "150020",
    "data_checksums": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "ignore_checksum_failure": "off",
    "zero_damaged_pages": "off",
    "allow_system_table_mods": "off",
    "synchronous_commit": "on",
    "log_destination": "stderr",
    "logging_collector": "on",
    "log_directory": "log",
    "log_file_mode": "0600",
    "log_rotation_age": "1440",
    "log_rotation_size": "102400",
    "log_truncate_on_rotation": "on",
    "log_min_messages": "warning",
    "log_min_error_statement": "error",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%m [%p] %l %q%u@%d %h %a ",
    "log_statement": "ddl",
    "log_timezone": "Etc/UTC",
    "password_encryption": "scram-sha-256",
    "authentication_timeout": "60",
    "shared_preload_libraries": "auth_delay, pg_stat_statements",
    "listen_addresses": "10.0.0.1",
    "ssl": "on",
    "log_replication_commands": "on",
}
HBA = [
    (1, "local", ["all"], ["postgres"], None, None, "peer", None),
    (2, "hostssl", ["flights"], ["app"], "10.0.0.0", "255.255.255.0", "scram-sha-256", None),
    (3, "hostssl", ["replication"], ["rep"], "10.0.0.2", "255.255.255.255", "cert", None),
]


def make_facts(
    tmp_path: Path,
    settings: dict[str, str] | None = None,
    answers: dict[str, list[tuple[Any, ...]]] | None = None,
    **extra: Any,
) -> Facts:
    """``answers`` maps a word of a query to its rows; a query without one gives no rows."""
    target = Target(
        schema_version=1,
        engine="postgresql",
        cluster="flights",
        part="member",
        member="pg1",
        version="15",
        members=("pg1", "pg2"),
        objectives=Objectives(rpo_seconds=60, rto_seconds=600),
        state_dir=tmp_path,
        options={"stanza": "flights", "data_dir": str(tmp_path), **extra},
    )

    def rows(query: str, database: str = "postgres") -> Sequence[tuple[Any, ...]]:
        for word, found in (answers or {}).items():
            if word in query:
                return found
        return []

    (tmp_path / "proc").mkdir(exist_ok=True)
    return Facts(
        target=target,
        options=options.read(target),
        settings={**GOOD, **(settings or {})},
        databases=("flights", "postgres"),
        standby=False,
        rows=rows,
        proc=tmp_path / "proc",
        etc=tmp_path / "etc",
    )


def control(control_id: str) -> Any:
    """Return what a control looks with."""
    (found,) = [rule.check for rule in audit.RULES if rule.control_id == control_id]
    return found


def test_a_setting_that_waits_to_go_with_a_restart_has_no_file(tmp_path: Path) -> None:
    names = ("config_file", "hba_file", "ident_file", "included")
    for name in names:
        (tmp_path / name).touch(mode=0o640)
    found = [(str(tmp_path / "included"),), (None,)]
    settings = {name: str(tmp_path / name) for name in names[:3]}
    facts = make_facts(tmp_path, settings, {"pg_file_settings": found}, os_user=getpass.getuser())
    finding = host.configuration_files(facts)
    assert (finding.status, finding.detail) == ("pass", "4 files")
    (tmp_path / "included").chmod(0o644)
    assert "included" in host.configuration_files(facts).detail


def test_there_are_thirty_controls_with_titles_of_their_own() -> None:
    assert [rule.control_id for rule in audit.RULES] == [f"PG-{n:02}" for n in range(1, 31)]
    assert len({rule.title for rule in audit.RULES}) == 30


def test_every_control_is_documented() -> None:
    page = Path(__file__).parents[3] / "docs/reference/controls.md"
    documented = dict(re.findall(r"^\| (PG-\d\d) \| ([^|]+?) \|", page.read_text(), re.MULTILINE))

    assert documented == {rule.control_id: rule.title for rule in audit.RULES}


@pytest.mark.parametrize(
    ("check", "settings"),
    [
        (control("PG-03"), {"data_checksums": "off"}),
        (control("PG-27"), {"fsync": "off"}),
        (control("PG-27"), {"full_page_writes": "off"}),
        (control("PG-27"), {"zero_damaged_pages": "on"}),
        (control("PG-27"), {"synchronous_commit": "off"}),
        (logs.destination, {"log_file_mode": "0644"}),
        (logs.destination, {"log_destination": ""}),
        (logs.rotation, {"log_rotation_age": "0"}),
        (logs.rotation, {"log_rotation_age": "10080"}),
        (logs.rotation, {"log_rotation_size": "0"}),
        (logs.rotation, {"log_truncate_on_rotation": "off"}),
        (control("PG-11"), {"log_min_messages": "error"}),
        (control("PG-11"), {"log_min_error_statement": "panic"}),
        (control("PG-12"), {"debug_print_plan": "on"}),
        (logs.connections, {"log_connections": "off"}),
        (logs.connections, {"log_disconnections": "off"}),
        (logs.lines, {"log_line_prefix": "%m [%p] "}),
        (logs.lines, {"log_line_prefix": "%"}),
        (logs.lines, {"log_statement": "none"}),
        (logs.lines, {"log_timezone": "Europe/Berlin"}),
        (logs.auditing, {"shared_preload_libraries": "pgaudit", "pgaudit.log": "none"}),
        (accounts.hashes, {"password_encryption": "md5"}),
        (accounts.limits, {"authentication_timeout": "120"}),
        (accounts.limits, {"shared_preload_libraries": "pg_stat_statements"}),
        (network.listening, {"listen_addresses": "*", "ssl": "off"}),
        (network.replication, {"log_replication_commands": "off"}),
    ],
)
def test_a_loose_setting_fails(tmp_path: Path, check: Any, settings: dict[str, str]) -> None:
    answers: dict[str, list[tuple[Any, ...]]] = {"rolreplication AND": [("rep",)]}
    good: Finding = check(make_facts(tmp_path, answers=answers))
    bad: Finding = check(make_facts(tmp_path, settings, answers))

    assert good.status != "fail", good.detail
    assert bad.status == "fail"
    assert bad.detail


@pytest.mark.parametrize(
    ("check", "rule", "word"),
    [
        (network.local_rules, (9, "local", ["all"], ["all"], None, None, "trust", None), "trust"),
        (network.local_rules, (9, "local", ["all"], ["all"], None, None, "md5", None), "md5"),
        (network.host_rules, (9, "host", ["a"], ["b"], "10.0.0.1", None, "scram-sha-256", None),
         "without TLS"),
        (network.host_rules, (9, "hostnossl", ["a"], ["b"], "10.0.0.1", None, "cert", None),
         "without TLS"),
        (network.host_rules, (9, "hostssl", ["a"], ["b"], "10.0.0.1", None, "password", None),
         "password"),
        (network.host_rules,
         (9, "hostssl", ["all"], ["all"], "0.0.0.0", "0.0.0.0", "scram-sha-256", None),
         "any address"),
        (network.host_rules,
         (9, "hostssl", ["replication"], ["rep"], "all", None, "scram-sha-256", None),
         "any address"),
        (network.host_rules, (9, None, None, None, None, None, None, "invalid method"), "invalid"),
        (network.replication,
         (9, "host", ["replication"], ["rep"], "10.0.0.1", None, "scram-sha-256", None),
         "without TLS"),
    ],
)  # fmt: skip
def test_a_loose_rule_is_named_by_its_line(
    tmp_path: Path, check: Any, rule: tuple[Any, ...], word: str
) -> None:
    replicators: list[tuple[Any, ...]] = [("rep",)]
    good = {"pg_hba_file_rules": list(HBA), "rolreplication AND": replicators}
    bad = {"pg_hba_file_rules": [*HBA, rule], "rolreplication AND": replicators}

    assert check(make_facts(tmp_path, answers=good)).status == "pass"
    finding = check(make_facts(tmp_path, answers=bad))
    assert finding.status == "fail"
    assert "line 9" in finding.detail
    assert word in finding.detail


def test_a_rejecting_rule_is_no_way_in(tmp_path: Path) -> None:
    reject = (9, "host", ["all"], ["all"], "0.0.0.0", "0.0.0.0", "reject", None)
    facts = make_facts(tmp_path, answers={"pg_hba_file_rules": [*HBA, reject]})

    assert network.host_rules(facts).status == "pass"


def test_a_listener_on_every_address_is_seen_in_the_kernels_table(tmp_path: Path) -> None:
    facts = make_facts(tmp_path, {"ssl": "off"})
    (facts.proc / "net").mkdir()
    (facts.proc / "net/tcp").write_text(
        "  sl  local_address rem_address   st\n   0: 00000000:1538 00000000:0000 0A\n"
    )

    assert network.listening(facts).status == "fail"


@pytest.mark.parametrize(
    ("ciphers", "weak"),
    [
        ("HIGH:MEDIUM:+3DES:!aNULL", True),
        ("HIGH:!aNULL", False),
        ("ECDHE+AESGCM:ECDHE+CHACHA20", False),
        ("HIGH:!3DES:!MD5:!RC4", False),
        ("ALL:RC4", True),
    ],
)
def test_weak_ciphers_are_told_from_excluded_ones(ciphers: str, weak: bool) -> None:
    assert bool(network._WEAK.search(ciphers)) is weak


def test_powerful_attributes_are_held_by_declared_roles_only(tmp_path: Path) -> None:
    roles: list[tuple[Any, ...]] = [
        ("postgres", True, True, True, True, True),
        ("dbops_replication", False, False, False, True, False),
        ("dbops_backup", False, False, False, True, False),
    ]
    assert (
        accounts.attributes(make_facts(tmp_path, answers={"rolcreaterole": roles})).status == "pass"
    )

    intruder = ("a;touch x", False, True, False, False, False)
    finding = accounts.attributes(
        make_facts(tmp_path, answers={"rolcreaterole": [*roles, intruder]})
    )
    assert finding.status == "fail"
    assert "CREATEROLE" in finding.detail


def test_unsigned_package_sources_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "apt/sources.list.d"
    folder.mkdir(parents=True)
    (folder / "good.list").write_text("deb [signed-by=/k.gpg] http://x y z\n# [trusted=yes]\n")
    (folder / "bad.list").write_text("deb [trusted=yes] http://x y z\n")
    (folder / "bad.sources").write_text("Types: deb\nTrusted: yes\n")

    assert [path.name for path in host._unsigned(tmp_path)] == ["bad.list", "bad.sources"]


def test_a_password_in_a_process_environment_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = make_facts(tmp_path)
    monkeypatch.setattr(Facts, "home", lambda self: tmp_path / "home")
    (facts.proc / "77").mkdir()
    (facts.proc / "77/environ").write_bytes(b"A=1\0PGPASSWORD=x\0")

    finding = host.no_password_in_environment(facts)

    assert finding.status == "fail"
    assert "77" in finding.detail
    assert "PGPASSWORD=x" not in finding.detail


def test_support_windows_are_known_for_what_the_kit_installs() -> None:
    now = datetime.now(UTC).date()
    assert host.END_OF_LIFE[15] > now
    assert host.END_OF_LIFE[17] > now
