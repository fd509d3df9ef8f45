"""Controls of accounts, privileges and replication."""

from __future__ import annotations

from dbops.audit.rules import Finding, Rule, verdict
from dbops.engines.mysql.controls.facts import LOCAL, Account, Facts

_POWERS = frozenset(
    (
        "ALL PRIVILEGES",
        "FILE",
        "PROCESS",
        "SUPER",
        "SHUTDOWN",
        "CREATE USER",
        "GRANT OPTION",
        "RELOAD",
        "SET USER",
        "FEDERATED ADMIN",
        "BINLOG ADMIN",
        "BINLOG MONITOR",
        "BINLOG REPLAY",
        "CONNECTION ADMIN",
        "READ_ONLY ADMIN",
        "REPLICATION SLAVE",
        "REPLICATION SLAVE ADMIN",
        "REPLICATION MASTER ADMIN",
        "SLAVE MONITOR",
        # MySQL's
        "BACKUP_ADMIN",
        "BINLOG_ADMIN",
        "CLONE_ADMIN",
        "CONNECTION_ADMIN",
        "ENCRYPTION_KEY_ADMIN",
        "GROUP_REPLICATION_ADMIN",
        "PERSIST_RO_VARIABLES_ADMIN",
        "REPLICATION CLIENT",
        "REPLICATION_APPLIER",
        "REPLICATION_SLAVE_ADMIN",
        "ROLE_ADMIN",
        "SERVICE_CONNECTION_ADMIN",
        "SESSION_VARIABLES_ADMIN",
        "SET_ANY_DEFINER",
        "SYSTEM_USER",
        "SYSTEM_VARIABLES_ADMIN",
    )
)
_READS = frozenset(
    (
        "PROCESS",
        "BINLOG MONITOR",
        "SLAVE MONITOR",
        "REPLICATION CLIENT",
        "RELOAD",
        "CONNECTION ADMIN",
    )
)
_LOG = frozenset(("REPLICATION SLAVE", "BINLOG MONITOR", "REPLICATION CLIENT"))
_OWN = {
    "root": _POWERS,
    "mysql": _READS | {"REPLICATION SLAVE ADMIN", "REPLICATION MASTER ADMIN"},
    "mariadb.sys": frozenset(),
    "mysql.sys": _POWERS,
    "mysql.session": _POWERS,
    "mysql.infoschema": _POWERS,
    "dbops": _READS - {"RELOAD", "CONNECTION ADMIN"},
    "dbops_backup": _READS - {"CONNECTION ADMIN"},
    "dbops_binlog": _LOG,
    "dbops_replication": _LOG,
    "dbops_migrate": _READS | {"REPLICATION SLAVE", "READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN"},
}
_WEAK = ("mysql_old_password", "mysql_native_password")
_SYSTEM_RIGHTS = (
    "SELECT grantee, table_schema, privilege_type FROM information_schema.schema_privileges "
    "WHERE table_schema = 'mysql'"
)
# Rows without a host are the installation's own.
_PROXIES = (
    "SELECT user, host, proxied_user, proxied_host FROM mysql.proxies_priv WHERE proxied_host <> ''"
)
_ROLE_ADMINS = {
    "mariadb": "SELECT user, host, role FROM mysql.roles_mapping WHERE admin_option = 'Y'",
    "mysql": "SELECT to_user, to_host, from_user FROM mysql.role_edges "
    "WHERE with_admin_option = 'Y'",
}
_UNUSABLE = ("invalid", "*THISISNOTAVALIDPASSWORDTHATCANBEUSEDHERE")


def powers(facts: Facts) -> Finding:
    """MY-22."""
    problems = []
    for account in facts.accounts:
        if account.name in facts.options.administrators or account.user in (
            facts.options.administrators
        ):
            continue
        held = facts.privileges.get(account.name, frozenset()) & _POWERS
        more = held - _OWN.get(account.user, frozenset())
        if more:
            problems.append(f"{account.name} holds {', '.join(sorted(more))}")
    problems += _passed_on(facts)
    return verdict(problems, f"{len(facts.accounts)} accounts and roles as declared")


def _passed_on(facts: Facts) -> list[str]:
    """Return who acts as another account, and who may give a role away."""
    allowed = {"root@localhost", *facts.options.administrators}
    found = [
        (f"{user}@{host}", f"may act as {proxied}@{proxied_host}")
        for user, host, proxied, proxied_host in facts.rows(_PROXIES)
    ]
    found += [
        (f"{user}@{host}", f"may give the role {role} to others")
        for user, host, role in facts.rows(_ROLE_ADMINS[facts.options.flavor])
    ]
    return [f"{name} {what}" for name, what in found if name not in allowed]


def system_tables(facts: Facts) -> Finding:
    """MY-23."""
    allowed = {_quoted(name) for name in facts.options.administrators} | {
        "'root'@'localhost'",
        "'mariadb.sys'@'localhost'",
        "'mysql.session'@'localhost'",
    }
    problems = [
        f"{grantee} may {right} in the database mysql"
        for grantee, _, right in facts.rows(_SYSTEM_RIGHTS)
        if grantee not in allowed
    ]
    return verdict(problems, "none but administrators")


def _quoted(name: str) -> str:
    user, _, host = name.partition("@")
    return f"'{user}'@'{host or '%'}'"


def credentials(facts: Facts) -> Finding:
    """MY-25."""
    problems = []
    for account in _usable(facts):
        if not account.user:
            problems.append(f"an anonymous account may come from {account.host}")
        for plugin, secret in account.ways:
            if secret in _UNUSABLE or plugin in ("unix_socket", "auth_socket"):
                continue
            if not secret:
                problems.append(f"{account.name} has no password")
            elif plugin in _WEAK:
                problems.append(f"{account.name} has a password of the weak kind {plugin}")
    if facts.setting("old_passwords") not in ("OFF", "0", ""):
        problems.append("old_passwords is on")
    return verdict(problems, "every login proves itself")


def _usable(facts: Facts) -> list[Account]:
    return [one for one in facts.accounts if not one.role and not one.locked]


def places(facts: Facts) -> Finding:
    """MY-26."""
    problems = []
    for account in _usable(facts):
        held = facts.privileges.get(account.name, frozenset()) & _POWERS
        if account.user == "root" and account.host not in LOCAL:
            problems.append(f"{account.name} is not bound to this host")
        elif held and "%" in account.host and account.host.strip("%") == "":
            problems.append(f"{account.name} holds {', '.join(sorted(held))} from anywhere")
    return verdict(problems, "powerful accounts have named places")


def encryption(facts: Facts) -> Finding:
    """MY-27."""
    problems = [
        f"{account.name} is not bound to TLS"
        for account in _usable(facts)
        if not account.local and account.ssl <= 0
    ]
    return verdict(problems, "every remote account")


def replication(facts: Facts) -> Finding:
    """MY-28."""
    problems = []
    for name in ("sync_binlog", "innodb_flush_log_at_trx_commit"):
        if facts.setting(name) != "1":
            problems.append(f"{name} is {facts.setting(name)}")
    held = facts.privileges.get
    for account in facts.accounts:
        if account.user == "dbops_replication" and "SUPER" in (held(account.name) or ()):
            problems.append(f"{account.name} is SUPER")
    if facts.replica is not None:
        problems += _following(facts)
    return verdict(problems, "primary" if facts.replica is None else "replica over verified TLS")


def _following(facts: Facts) -> list[str]:
    replica, problems = facts.replica or {}, []
    if replica.get("Master_SSL_Allowed") != "Yes":
        problems.append("the replica receives without TLS")
    if replica.get("Master_SSL_Verify_Server_Cert") != "Yes":
        problems.append("the replica does not verify the source's certificate")
    if facts.setting("read_only") == "OFF":
        problems.append("the replica may be written to")
    for path in (facts.data_dir() / "master.info", facts.data_dir() / "relay-log.info"):
        if path.exists() and path.stat().st_mode & 0o007:
            problems.append(f"{path} may be read by others")
    return problems


RULES: tuple[Rule[Facts], ...] = (
    Rule("MY-22", "Only declared accounts hold powerful privileges", powers),
    Rule("MY-23", "Nobody else reads or changes the system's own tables", system_tables),
    Rule("MY-25", "No anonymous account, no empty or weak password", credentials),
    Rule("MY-26", "Powerful accounts come from named places", places),
    Rule("MY-27", "Remote accounts are bound to TLS", encryption),
    Rule("MY-28", "Replication is encrypted, verified and durable", replication),
)
