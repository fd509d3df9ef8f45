"""Controls of the server's settings: passwords, network, TLS, files, SQL, logs."""

from __future__ import annotations

import ssl

from dbops.audit.rules import Finding, Rule, Wanted, settings, verdict
from dbops.engines.mysql import handshake
from dbops.engines.mysql.controls.facts import Facts

_COMPLEXITY = ("simple_password_check", "cracklib_password_check")
_EVERYWHERE = ("*", "0.0.0.0", "::", "")
_LINKS: Wanted = {"have_symlink": ("NO", "DISABLED", "")}
_EXAMPLES = ("test", "sakila", "world", "employees", "example")


def passwords(facts: Facts) -> Finding:
    """MY-08."""
    return verdict(_PASSWORDS[facts.options.flavor](facts), "strength and reuse are checked")


def _by_plugins(facts: Facts) -> list[str]:
    problems = []
    if not any(name in facts.plugins for name in _COMPLEXITY):
        problems.append("no plugin looks at the strength of passwords")
    if "password_reuse_check" not in facts.plugins:
        problems.append("no plugin keeps old passwords from coming back")
    return problems


def _by_settings(facts: Facts) -> list[str]:
    problems = []
    if not facts.setting("validate_password.length"):
        problems.append("no component looks at the strength of passwords")
    if {facts.setting(name) for name in ("password_history", "password_reuse_interval")} <= {"0"}:
        problems.append("nothing keeps old passwords from coming back")
    return problems


def listening(facts: Facts) -> Finding:
    """MY-09."""
    address = facts.setting("bind_address")
    tls = facts.setting("require_secure_transport") == "ON"
    problems = []
    if address in _EVERYWHERE and not tls:
        problems.append(f"it listens on {address or 'every address'} and does not require TLS")
    return verdict(problems, f"{address}{', TLS required' if tls else ''}")


def transport(facts: Facts) -> Finding:
    """MY-10."""
    problems = []
    versions = {part.strip() for part in facts.setting("tls_version").split(",") if part.strip()}
    old = versions - {"TLSv1.2", "TLSv1.3"}
    if old or not versions:
        problems.append(f"tls_version is {facts.setting('tls_version') or 'unset'!r}")
    if facts.setting("require_secure_transport") != "ON":
        problems.append("require_secure_transport is off")
    address = facts.options.address(facts.target.member)
    try:
        shown = handshake.certificate(address)
    except OSError as error:
        return verdict([*problems, f"no TLS comes about on port {address[1]}: {error}"])
    try:
        handshake.certificate(address, ssl.TLSVersion.TLSv1_1)
        problems.append("it speaks TLS 1.1")
    except OSError:
        pass
    return verdict(problems, shown.tls_version)


def examples(facts: Facts) -> Finding:
    """MY-15."""
    found = {str(row[0]).lower() for row in facts.rows("SHOW DATABASES")}
    problems = [f"the database {name!r} is there" for name in _EXAMPLES if name in found]
    return verdict(problems, f"{len(found)} databases")


def functions(facts: Facts) -> Finding:
    """MY-16."""
    problems = []
    if "--allow-suspicious-udfs" in _arguments(facts):
        problems.append("allow-suspicious-udfs is on")
    problems += [
        f"the function {row[0]} comes from the library {row[1]}"
        for row in facts.rows("SELECT name, dl FROM mysql.func")
    ]
    return verdict(problems, "no foreign function")


def _arguments(facts: Facts) -> list[str]:
    return (facts.server() / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")


def grant_tables(facts: Facts) -> Finding:
    """MY-18."""
    found = [word for word in _arguments(facts) if word.startswith("--skip-grant")]
    text = facts.options.config_file.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    found += [line for line in lines if line.replace("_", "-").startswith("skip-grant-tables")]
    return verdict([f"{one} is set" for one in found], "in force")


def file_directory(facts: Facts) -> Finding:
    """MY-20."""
    value = facts.setting("secure_file_priv").rstrip("/")
    problems = []
    if value in ("", "/", "/tmp", "/var/tmp"):
        problems.append(f"secure_file_priv is {value or 'empty'!r}")
    return verdict(problems, value)


def strictness(facts: Facts) -> Finding:
    """MY-21."""
    modes = set(facts.setting("sql_mode").split(","))
    problems = []
    if not modes & {"STRICT_ALL_TABLES", "STRICT_TRANS_TABLES"}:
        problems.append("sql_mode is not strict")
    if facts.options.flavor == "mariadb" and "NO_AUTO_CREATE_USER" not in modes:
        problems.append("sql_mode lets GRANT make accounts")
    return verdict(problems, facts.setting("sql_mode"))


_AUDIT_PLUGIN = (
    "SELECT load_option FROM information_schema.plugins WHERE plugin_name = 'SERVER_AUDIT'"
)


def logging(facts: Facts) -> Finding:
    """MY-24."""
    problems = []
    if not facts.setting("log_error") and not _journal(facts):
        problems.append("errors are logged nowhere")
    problems += _LOGGING[facts.options.flavor](facts)
    return verdict(problems, "errors, refused logins and what else the server can log")


def _audited(facts: Facts) -> list[str]:
    problems = []
    if int(facts.setting("log_warnings") or "0") < 2:
        problems.append(f"log_warnings is {facts.setting('log_warnings')}")
    if "SERVER_AUDIT" not in {name.upper() for name in facts.plugins}:
        problems.append("the audit plugin is not loaded")
    elif facts.setting("server_audit_logging") != "ON":
        problems.append("the audit plugin does not log")
    elif [str(row[0]) for row in facts.rows(_AUDIT_PLUGIN)] != ["FORCE_PLUS_PERMANENT"]:
        problems.append("the audit plugin can be taken out of the running server")
    return problems


def _noted(facts: Facts) -> list[str]:
    """MySQL has no audit plugin that is free: refused logins are among its notes."""
    level = facts.setting("log_error_verbosity")
    return [f"log_error_verbosity is {level}, which leaves refused logins out"] * (level != "3")


_PASSWORDS = {"mariadb": _by_plugins, "mysql": _by_settings}
_LOGGING = {"mariadb": _audited, "mysql": _noted}


def _journal(facts: Facts) -> bool:
    return (facts.server() / "fd/2").resolve().name.startswith("socket")


RULES: tuple[Rule[Facts], ...] = (
    Rule("MY-08", "Weak and former passwords are refused", passwords),
    Rule("MY-09", "The server listens where it is meant to", listening),
    Rule("MY-10", "TLS 1.2 or newer is required, as a handshake shows", transport),
    Rule("MY-15", "No example database", examples),
    Rule("MY-16", "No foreign functions", functions),
    Rule("MY-17", "Clients' files cannot be asked for", settings({"local_infile": "OFF"})),
    Rule("MY-18", "The privileges are in force", grant_tables),
    Rule("MY-19", "No data through symbolic links", settings(_LINKS)),
    Rule("MY-20", "Files are read and written in one place only", file_directory),
    Rule("MY-21", "The server refuses wrong values", strictness),
    Rule("MY-24", "Errors and audited events are logged", logging),
)
