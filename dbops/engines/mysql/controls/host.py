"""Controls of the host: the server's account, its files, its process, its packages."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from dbops.audit.member_controls import data_directory, package
from dbops.audit.rules import Finding, Rule, permissions, verdict
from dbops.engines.mysql import flavor
from dbops.engines.mysql.controls.facts import Facts
from dbops.runner import Command, capture

_NO_SHELLS = ("nologin", "false")
_HISTORIES = (".mysql_history", ".mariadb_history")
_PROFILES = ("etc/profile", "etc/environment", "etc/bash.bashrc", "etc/default/mariadb")


def own_disk(facts: Facts) -> Finding:
    """MY-01."""
    here, system = os.stat(facts.data_dir()).st_dev, os.stat("/").st_dev
    problems = [f"{facts.data_dir()} is on the system's file system"] if here == system else []
    return verdict(problems, "a file system of its own")


def account(facts: Facts) -> Finding:
    """MY-02."""
    owner = pwd.getpwuid(facts.server().stat().st_uid)
    problems = []
    if owner.pw_name != facts.options.os_user or owner.pw_uid == 0:
        problems.append(f"the server runs as {owner.pw_name}")
    if not owner.pw_shell.endswith(_NO_SHELLS):
        problems.append(f"{owner.pw_name} has the shell {owner.pw_shell}")
    return verdict(problems, f"{owner.pw_name}, no shell")


def histories(facts: Facts) -> Finding:
    """MY-03."""
    problems = []
    for entry in pwd.getpwall():
        for name in _HISTORIES:
            path = Path(entry.pw_dir) / name
            if path.is_symlink() and os.readlink(path) == "/dev/null":
                continue
            if path.exists() and path.stat().st_size:
                problems.append(f"{path} keeps what was typed")
    return verdict(sorted(set(problems)), "none is kept")


def environment(facts: Facts) -> Finding:
    """MY-04."""
    problems = [
        f"process {process} has MYSQL_PWD"
        for process, text in _texts(facts, "environ")
        if any(part.startswith(b"MYSQL_PWD=") for part in text.split(b"\0"))
    ]
    for name in _PROFILES:
        path = facts.etc.parent / name
        if path.is_file() and b"MYSQL_PWD" in path.read_bytes():
            problems.append(f"{path} names MYSQL_PWD")
    return verdict(problems, "nowhere")


def _texts(facts: Facts, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in facts.proc.iterdir():
        if entry.name.isdigit():
            try:
                yield entry.name, (entry / name).read_bytes()
            except OSError:
                continue


def backups(facts: Facts) -> Finding:
    """MY-05."""
    settings = facts.settings
    problems = []
    if settings.get("log_bin") != "ON":
        problems.append("there is no binary log, so no time can be restored to")
    if not facts.options.repo_password_file.is_file():
        problems.append(f"{facts.options.repo_password_file} is absent: nothing can be restored")
    else:
        problems += permissions(facts.options.repo_password_file, {"root"}, 0o600)
    return verdict(problems, "binary log on, an encrypted repository that this host can read")


def alone(facts: Facts) -> Finding:
    """MY-06."""
    found = [
        process
        for process, text in _texts(facts, "comm")
        if text.strip() in (b"mariadbd", b"mysqld", b"postgres", b"redis-server", b"mongod")
        and _root_of_group(facts, process)
    ]
    others = [one for one in found if one != str(facts.process)]
    return verdict([f"process {one} is another database server" for one in others], "one server")


def _root_of_group(facts: Facts, process: str) -> bool:
    """Count a server once: its helpers have one of the same name for a parent."""
    try:
        parent = (facts.proc / process / "stat").read_text().rsplit(")", 1)[1].split()[1]
        name = (facts.proc / process / "comm").read_text()
        return (facts.proc / parent / "comm").read_text() != name
    except (OSError, IndexError):
        return True


def command_lines(facts: Facts) -> Finding:
    """MY-07."""
    problems = []
    for process, text in _texts(facts, "cmdline"):
        words = text.split(b"\0")
        program = words[0].rsplit(b"/", 1)[-1]
        if not program.startswith((b"mariadb", b"mysql", b"mbstream")):
            continue
        if any(_holds_password(word) for word in words[1:]):
            problems.append(f"process {process} was given a password as an argument")
    return verdict(problems, "none")


def _holds_password(word: bytes) -> bool:
    return (word.startswith(b"--password=") and len(word) > 11) or (
        word.startswith(b"-p") and len(word) > 2 and not word.startswith(b"-p-")
    )


def log_files(facts: Facts) -> Finding:
    """MY-12."""
    paths = list(facts.data_dir().glob("binlog.*")) + list(facts.data_dir().glob("relay*"))
    named = ("log_error", "slow_query_log_file", "general_log_file", "server_audit_file_path")
    for name in named:
        value = facts.setting(name)
        path = Path(value) if value.startswith("/") else facts.data_dir() / value
        if value and path.is_file():
            paths.append(path)
    problems = []
    for path in sorted(set(paths)):
        problems += permissions(path, {facts.options.os_user, "root"}, 0o660)
    return verdict(problems, f"{len(set(paths))} files")


def configuration(facts: Facts) -> Finding:
    """MY-13."""
    problems = permissions(facts.options.config_file, {"root"}, 0o640)
    key = Path(facts.setting("ssl_key") or str(facts.options.tls_key))
    problems += permissions(key, {"root", facts.options.os_user}, 0o640)
    return verdict(problems, f"{facts.options.config_file} and {key}")


def _package_of(program: str) -> str:
    """Return the package that a program came in; vendors and distributions name theirs apart."""
    said = capture(Command(("dpkg-query", "--search", program), timeout_seconds=60)).stdout
    return said.split(":", 1)[0] if ":" in said else program


def patches(facts: Facts) -> Finding:
    """MY-14."""
    name = _package_of(flavor.named(facts.options.flavor).server)
    return verdict(package(name), name)


RULES: tuple[Rule[Facts], ...] = (
    Rule("MY-01", "The data are not on the system's file system", own_disk),
    Rule("MY-02", "The server runs as an account of its own that cannot log in", account),
    Rule("MY-03", "No typed statement is kept in a history", histories),
    Rule("MY-04", "No password in profiles or in processes' environments", environment),
    Rule("MY-05", "Backups can be read here and any time can be restored to", backups),
    Rule("MY-06", "No other database server shares the host", alone),
    Rule("MY-07", "No password on a command line", command_lines),
    Rule("MY-11", "The data directory is closed to others", data_directory),
    Rule("MY-12", "The log files are closed to others", log_files),
    Rule("MY-13", "The configuration and the key are closed to others", configuration),
    Rule("MY-14", "The newest packaged version is installed", patches),
)
