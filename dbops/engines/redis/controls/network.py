"""Controls of the network: where the server listens, and how it is spoken to."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from dbops.audit.rules import Finding, Rule, Wanted, permissions, settings, verdict
from dbops.engines.redis import handshake
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.controls.accounts import refused
from dbops.engines.redis.controls.facts import Facts
from dbops.engines.redis.members import sentinel
from dbops.errors import CommandFailed, ConfigError

_EVERYWHERE = {"*", "-*", "0.0.0.0", "::", "-::", "::*", "-::*"}
_SECONDS = 3.0
_VERIFIED: Wanted = {"tls-auth-clients": "yes", "tls-replication": "yes"}


def bound(facts: Facts) -> Finding:
    """RD-02."""
    places = facts.setting("bind").split()
    problems = [f"it listens on {place}" for place in places if place in _EVERYWHERE]
    if not places:
        problems.append("it listens on every address")
    return verdict(problems, facts.setting("bind"))


def tls_only(facts: Facts) -> Finding:
    """RD-11."""
    problems = []
    if facts.setting("port") != "0":
        problems.append(f"the plain port {facts.setting('port')} is open")
    if facts.setting("tls-port") != str(facts.options.port):
        problems.append(f"tls-port is {facts.setting('tls-port')} and not {facts.options.port}")
    allowed = set(facts.setting("tls-protocols").split())
    if not allowed or allowed - {"TLSv1.2", "TLSv1.3"}:
        problems.append(f"tls-protocols is {facts.setting('tls-protocols') or 'unset'}")
    place = (facts.address(), facts.options.port)
    if _answers_plain(place):
        problems.append("the port answers without TLS")
    if _answers_old(place):
        problems.append("the port speaks TLS 1.1")
    return verdict(problems, "TLS 1.2 and 1.3 only, tried")


def _answers_plain(place: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(place, timeout=_SECONDS) as raw:
            raw.sendall(b"PING\r\n")
            return raw.recv(1) in (b"+", b"-")
    except OSError:
        return False


def _answers_old(place: tuple[str, int]) -> bool:
    try:
        handshake.certificate(place, latest=ssl.TLSVersion.TLSv1_1)
    except OSError:
        return False
    return True


def tls_key(facts: Facts) -> Finding:
    """RD-13."""
    names = [facts.setting("tls-key-file"), facts.setting("tls-client-key-file")]
    if not all(names):
        return verdict(["no TLS key is set, or none for what the server asks others"])
    problems = [
        problem
        for name in names
        for problem in permissions(Path(name), {"root", facts.options.os_user}, 0o640)
    ]
    return verdict(problems, " and ".join(names))


def sentinel_closed(facts: Facts) -> Finding:
    """RD-22."""
    opts = facts.options
    if facts.target.member not in opts.sentinels:
        return Finding("not applicable", "no Sentinel is on this host")
    problems = []
    path = opts.sentinel_config_file
    if path is None:
        raise ConfigError("the target does not say where the Sentinel's configuration is")
    problems += permissions(path, {opts.os_user, "root"}, 0o640)
    written = path.read_text(encoding="utf-8")
    for word in ("sentinel auth-user", "sentinel auth-pass"):
        if word not in written:
            problems.append(f"{path.name} has no {word!r}")
    anonymous = opts.model_copy(update={"sentinel_password_file": None})
    with sentinel(anonymous, facts.target.member) as connection:
        said = _said(connection, "PING")
    if not refused(said):
        problems.append(f"the Sentinel answers without a log-in: {said}")
    if opts.sentinel_password_file is not None:
        with sentinel(opts, facts.target.member) as connection:
            said = _said(connection, "SENTINEL", "CONFIG", "GET", "*")
        if "permission" not in said:
            problems.append(f"{opts.sentinel_user} may read the Sentinel's passwords")
    return verdict(problems, "it asks for a log-in and logs in itself")


def _said(connection: Connection, *command: str) -> str:
    try:
        return text(connection.ask(*command))
    except CommandFailed as error:
        return str(error)


RULES: tuple[Rule[Facts], ...] = (
    Rule("RD-02", "The server listens on named addresses", bound),
    Rule("RD-03", "Protected mode is on", settings({"protected-mode": "yes"})),
    Rule("RD-11", "The port speaks TLS 1.2 or newer and nothing else", tls_only),
    Rule("RD-12", "Clients and replicas show certificates", settings(_VERIFIED)),
    Rule("RD-13", "The TLS key is closed to others", tls_key),
    Rule("RD-22", "The Sentinel asks for log-ins and keeps its own closed", sentinel_closed),
)
