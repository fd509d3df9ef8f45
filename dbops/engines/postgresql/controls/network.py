"""Controls of the ways in: listening addresses, client rules, TLS, replication."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from dbops.audit.rules import Finding, Rule, permissions, verdict
from dbops.engines.postgresql import handshake
from dbops.engines.postgresql.controls.facts import Facts, Row

_HBA = """
SELECT line_number, type, database, user_name, address, netmask, auth_method, error
FROM pg_hba_file_rules ORDER BY line_number"""
_LISTENING = "0A"
_ANYWHERE = {"0.0.0.0", "::", "all", "0.0.0.0/0", "::/0"}
_WEAK = re.compile(r"(?<![!-])\b(MEDIUM|LOW|EXPORT|3DES|RC4|DES|MD5|aNULL|eNULL|NULL|SEED|IDEA)\b")
_OLD = {"", "TLSv1", "TLSv1.1"}
_REPLICATORS = "SELECT rolname FROM pg_roles WHERE rolreplication AND NOT rolsuper AND rolcanlogin"


def _rules(facts: Facts, *kinds: str) -> list[Row]:
    return [row for row in facts.rows(_HBA) if row[1] in kinds and row[6] != "reject"]


def _errors(facts: Facts) -> list[str]:
    return [f"rule at line {row[0]}: {row[7]}" for row in facts.rows(_HBA) if row[7]]


def _anywhere(row: Row) -> bool:
    return row[4] in _ANYWHERE and row[5] in (None, "0.0.0.0", "::")


def listening(facts: Facts) -> Finding:
    """PG-22."""
    wide = bool(
        {p.strip() for p in facts.setting("listen_addresses").split(",")} & {"*", *_ANYWHERE}
    )
    wide = wide or _listens_anywhere(facts)
    if not wide:
        return Finding("pass", facts.setting("listen_addresses") or "no address at all")
    problems = [] if facts.setting("ssl") == "on" else ["listens everywhere without TLS"]
    problems += [
        f"listens everywhere and line {row[0]} lets clients in without TLS"
        for row in _rules(facts, "host", "hostnossl")
    ]
    problems += [
        f"listens everywhere and line {row[0]} lets any address in"
        for row in _rules(facts, "hostssl")
        if _anywhere(row)
    ]
    return verdict(problems, "every address, but only named ones over TLS get in")


def _listens_anywhere(facts: Facts) -> bool:
    for name in ("net/tcp", "net/tcp6"):
        path = facts.proc / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            words = line.split()
            address, port = words[1].split(":")
            if (
                words[3] == _LISTENING
                and int(port, 16) == facts.options.port
                and not int(address, 16)
            ):
                return True
    return False


def local_rules(facts: Facts) -> Finding:
    """PG-23."""
    problems = _errors(facts) + [
        f"line {row[0]}: local by {row[6]}"
        for row in _rules(facts, "local")
        if row[6] not in ("peer", "scram-sha-256")
    ]
    return verdict(problems, "peer or SCRAM")


def host_rules(facts: Facts) -> Finding:
    """PG-24."""
    problems = _errors(facts)
    kinds = ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
    for row in _rules(facts, *kinds):
        line, kind, databases, users, _, _, method, _ = row
        if kind != "hostssl":
            problems.append(f"line {line}: {kind} allows clients without TLS")
        if method not in ("scram-sha-256", "cert"):
            problems.append(f"line {line}: method {method}")
        mighty = {"all", *facts.options.superusers} & set(users or ())
        if _anywhere(row) and (mighty or "replication" in (databases or ())):
            problems.append(f"line {line}: superusers or replication from any address")
    return verdict(problems, "TLS with SCRAM or certificates only")


def transport(facts: Facts) -> Finding:
    """PG-26."""
    if facts.setting("ssl") != "on":
        return Finding("fail", "ssl is off")
    problems = _key(facts)
    if facts.setting("ssl_min_protocol_version") in _OLD:
        problems.append(
            f"ssl_min_protocol_version is {facts.setting('ssl_min_protocol_version')!r}"
        )
    weak = _WEAK.findall(facts.setting("ssl_ciphers"))
    if weak:
        problems.append(f"ssl_ciphers allows {', '.join(sorted(set(weak)))}")
    address = facts.options.address(facts.target.member)
    version = handshake.certificate(address).tls_version
    if version in _OLD:
        problems.append(f"a handshake came to {version}")
    try:
        old = handshake.certificate(address, ssl.TLSVersion.TLSv1_1)
        problems.append(f"a handshake with {old.tls_version} was accepted")
    except OSError:
        pass
    return verdict(problems, f"{version} by handshake, and 1.1 was refused")


def _key(facts: Facts) -> list[str]:
    path = Path(facts.setting("ssl_key_file"))
    if not path.is_absolute():
        path = facts.options.require_path("data_dir") / path
    by_root = path.stat().st_uid == 0
    # The server itself takes a key of root's that its group may read, and no other.
    return permissions(path, {facts.options.os_user, "root"}, 0o640 if by_root else 0o600)


def replication(facts: Facts) -> Finding:
    """PG-28."""
    problems = []
    if facts.setting("log_replication_commands") != "on":
        problems.append("log_replication_commands is off")
    if len(facts.target.members) > 1 and not facts.rows(_REPLICATORS):
        problems.append("no role of its own for replication")
    for row in _rules(facts, "host", "hostnossl", "hostssl"):
        if "replication" in (row[2] or ()):
            if row[1] != "hostssl":
                problems.append(f"line {row[0]}: replication without TLS")
            if {"all", *facts.options.superusers} & set(row[3] or ()):
                problems.append(f"line {row[0]}: replication for superusers")
    return verdict(problems, "its own role, over TLS, logged")


RULES: tuple[Rule[Facts], ...] = (
    Rule("PG-22", "The server listens where it is meant to", listening),
    Rule("PG-23", "Local clients prove who they are", local_rules),
    Rule("PG-24", "Remote clients come over TLS with SCRAM or a certificate", host_rules),
    Rule("PG-26", "TLS 1.2 or newer with strong ciphers, as a handshake shows", transport),
    Rule("PG-28", "Replication has a role of its own, TLS and a trace in the log", replication),
)
