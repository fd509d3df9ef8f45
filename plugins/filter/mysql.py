"""Filters of the mysql role: accounts and grants for addresses, option files, and GTIDs."""

from __future__ import annotations

import re
from typing import Any

from ansible.errors import AnsibleFilterError

_POSITION = re.compile(r"[0-9A-Za-z_:,-]*")
_ONE_LINE = re.compile(r"[\w+:.,;@%= -]*")
_MADE_WITH = ("innodb_data_file_path", "innodb_page_size", "lower_case_table_names")
_MEANING = (
    *_MADE_WITH,
    "block_encryption_mode",
    "character_set_collations",
    "character_set_filesystem",
    "character_set_server",
    "collation_server",
    "default_collation_for_utf8mb4",
    "default_storage_engine",
    "default_time_zone",
    "default_tmp_storage_engine",
    "default_week_format",
    "div_precision_increment",
    "explicit_defaults_for_timestamp",
    "ft_max_word_len",
    "ft_min_word_len",
    "group_concat_max_len",
    "innodb_checksum_algorithm",
    "innodb_default_row_format",
    "innodb_ft_max_token_size",
    "innodb_ft_min_token_size",
    "innodb_strict_mode",
    "innodb_undo_tablespaces",
    "lc_time_names",
    "mysql56_temporal_format",
    "ngram_token_size",
    "old_mode",
    "plugin_load_add",
    "sql_generate_invisible_primary_key",
    "sql_mode",
    "updatable_views_with_limit",
)


def identity(host: str, own: Any = None) -> str:
    """Return what a connection from ``host`` must show: the kit's certificate for that host.

    ``own`` are certificates that the user gave, whose subject is not known.
    """
    return "X509" if own else f"SUBJECT /CN={host}"


def accounts(
    hosts: dict[str, str], name: str, password: str, own: Any = None
) -> list[dict[str, Any]]:
    """Return the account ``name`` at each address of ``hosts``, with what it must show."""
    return [
        {"name": name, "host": address, "password": password, "require": identity(host, own)}
        for host, address in hosts.items()
    ]


def grant(address: str, name: str, privileges: list[str]) -> dict[str, Any]:
    """Return the grant of ``privileges`` on everything to the account ``name`` at ``address``."""
    return {"user": name, "host": address, "privileges": privileges}


VERIFY = {"mariadb": "ssl-verify-server-cert", "mysql": "ssl-mode=VERIFY_IDENTITY"}


def option_file(password: str, user: str, flavor: str = "mariadb") -> str:
    """Return an option file for ``user``, the password escaped as the client expects it."""
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'# Managed by dbops.\n[client]\nuser={user}\npassword="{escaped}"\n'
        "ssl-ca=/etc/dbops/tls/ca.crt\nssl-cert=/etc/dbops/tls/client.crt\n"
        f"ssl-key=/etc/dbops/tls/client.key\n{VERIFY[flavor]}\n"
    )


def position(text: str, host: str) -> str:
    """Return the transactions that ``host`` names, which go into a statement on another host.

    Raises AnsibleFilterError for anything that is no list or set of GTIDs.
    """
    plain = "".join(text.replace("\\n", "").split())
    if not _POSITION.fullmatch(plain):
        raise AnsibleFilterError(
            f"What {host} gives as its last transaction is no list of GTIDs, so it goes into no "
            f"statement: look at the server on {host} before you run this again."
        )
    return plain


def reader(member: str, cluster: str, restart: bool) -> dict[str, Any]:
    """Return the unit that reads the binary log of ``member``, as unit_set takes it."""
    return {"name": f"dbops-binlog-{cluster}@{member}.service", "restart": restart}


def archive(member: str, folder: str) -> dict[str, str]:
    """Return the folder of the binary log of ``member`` in a repository, as file_set takes it."""
    owner = "dbops-repository"
    return {"path": f"{folder}/binlog/{member}", "owner": owner, "group": owner, "mode": "0750"}


def errant(position: str, state: str) -> str:
    """Return the transactions of ``position`` that a server with the log ``state`` never had.

    Both are lists of MariaDB's GTIDs, ``state`` with the last one of every origin, or MySQL's sets.
    """
    if ":" in position:
        return _beyond(_sets(position), _sets(state))
    known = {(domain, origin): number for domain, origin, number in _gtids(state)}
    missing = [
        f"{domain}-{origin}-{number}"
        for domain, origin, number in _gtids(position)
        if known.get((domain, origin), 0) < number
    ]
    return ",".join(missing)


def _gtids(text: str) -> list[tuple[int, int, int]]:
    parts = [part.strip().split("-") for part in (text or "").split(",") if part.strip()]
    return [(int(domain), int(origin), int(number)) for domain, origin, number in parts]


def _sets(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return the intervals of each server, or server and tag, in MySQL's set."""
    found: dict[str, list[tuple[int, int]]] = {}
    for part in (text or "").split(","):
        name, *words = part.strip().split(":")
        history = name
        for word in words:
            if word[0].isdigit():
                first, _, last = word.partition("-")
                found.setdefault(history, []).append((int(first), int(last or first)))
            else:
                history = f"{name}:{word}"
    return found


def _beyond(
    mine: dict[str, list[tuple[int, int]]], theirs: dict[str, list[tuple[int, int]]]
) -> str:
    """Return what of one set is not in another, as a set."""
    missing = []
    for history, intervals in sorted(mine.items()):
        for first, last in intervals:
            start = first
            for low, high in sorted(theirs.get(history, [])):
                if high < start or low > last:
                    continue
                if low > start:
                    missing.append(f"{history}:{start}-{low - 1}")
                start = high + 1
            if start <= last:
                missing.append(f"{history}:{start}-{last}")
    return ",".join(missing)


def meaning(settings: dict[str, Any]) -> dict[str, str]:
    """Return those of a server's settings that change what statements and files mean.

    A drill's server has them too. What names a path is the host's own.
    """
    return {
        name: _text(value)
        for name, value in settings.items()
        if name in _MEANING and _ONE_LINE.fullmatch(_text(value))
    }


def made_with(settings: dict[str, Any]) -> list[str]:
    """Return the options that a server must be made with, to start with ``settings``."""
    return [f"--{n.replace('_', '-')}={_text(v)}" for n, v in settings.items() if n in _MADE_WITH]


def _text(value: Any) -> str:
    return {True: "ON", False: "OFF"}[value] if isinstance(value, bool) else str(value)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {
            "dbops_mysql_accounts": accounts,
            "dbops_mysql_grant": grant,
            "dbops_mysql_option_file": option_file,
            "dbops_mysql_archive": archive,
            "dbops_mysql_errant": errant,
            "dbops_mysql_identity": identity,
            "dbops_mysql_made_with": made_with,
            "dbops_mysql_meaning": meaning,
            "dbops_mysql_position": position,
            "dbops_mysql_reader": reader,
        }
