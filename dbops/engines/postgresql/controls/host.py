"""Controls of the host: packages, service, environment, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from dbops import runner
from dbops.audit.member_controls import data_directory, package
from dbops.audit.rules import Finding, Rule, permissions, verdict
from dbops.engines.postgresql.controls.facts import Facts

# The last day of support of each major version, from the project's versioning policy.
END_OF_LIFE = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
_ENABLED = {"enabled", "enabled-runtime", "alias", "generated"}
_PROFILES = (
    "profile",
    "environment",
    "bash.bashrc",
    "profile.d/*",
    "default/*",
    "postgresql/*/*/environment",
    "security/pam_env.conf",
)
_DOTFILES = (".profile", ".bashrc", ".bash_profile", ".bash_login", ".pam_environment", ".zshrc")


def supported(facts: Facts) -> Finding:
    """PG-01."""
    number = int(facts.setting("server_version_num"))
    major = number // 10000
    end = END_OF_LIFE.get(major)
    problems = []
    if end is None or datetime.now(UTC).date() > end:
        problems.append(f"PostgreSQL {major} is not in its support window")
    problems += package(f"postgresql-{major}")
    problems += [f"{path} trusts unsigned packages" for path in _unsigned(facts.etc)]
    return verdict(problems, f"{facts.setting('server_version')}, supported until {end}")


def _unsigned(etc: Path) -> list[Path]:
    places = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]
    pattern = re.compile(r"^[^#\n]*(trusted\s*=\s*yes|^Trusted:\s*yes)", re.I | re.M)
    return [path for path in places if path.is_file() and pattern.search(path.read_text())]


def enabled(facts: Facts) -> Finding:
    """PG-02."""
    service = str(facts.options.require("service"))
    done = runner.capture(runner.Command(("systemctl", "is-enabled", service), timeout_seconds=30))
    state = done.stdout.strip() or "unknown"
    return verdict([] if state in _ENABLED else [f"{service} is {state}"], f"{service} is {state}")


def no_password_in_environment(facts: Facts) -> Finding:
    """PG-04."""
    problems = []
    for path in _profiles(facts):
        text = path.read_text(encoding="utf-8", errors="replace")
        if re.search(r"^[^#\n]*\bPGPASSWORD\b", text, re.MULTILINE):
            problems.append(f"{path} sets PGPASSWORD")
    for process in facts.proc.glob("[0-9]*/environ"):
        try:
            variables = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(one.startswith(b"PGPASSWORD=") for one in variables):
            problems.append(f"process {process.parent.name} has PGPASSWORD in its environment")
    return verdict(problems, "no profile and no process has it")


def _profiles(facts: Facts) -> Iterator[Path]:
    for pattern in _PROFILES:
        yield from (path for path in sorted(facts.etc.glob(pattern)) if path.is_file())
    for home in (facts.home(), Path("/root")):
        yield from (home / name for name in _DOTFILES if (home / name).is_file())


def umask(facts: Facts) -> Finding:
    """PG-05."""
    text = (facts.proc / str(facts.postmaster()) / "status").read_text()
    match = re.search(r"^Umask:\s*(\d+)", text, re.MULTILINE)
    value = match[1] if match else "unknown"
    group = facts.setting("data_directory_mode") == "0750"
    good = value == "0077" or (group and value == "0027")
    return verdict([] if good else [f"the server runs with umask {value}"], f"umask {value}")


def configuration_files(facts: Facts) -> Finding:
    """PG-07. A setting that waits to go with a restart is of no file any more."""
    found = facts.rows("SELECT DISTINCT sourcefile FROM pg_file_settings")
    paths = {Path(str(row[0])) for row in found if row[0] is not None}
    paths |= {Path(facts.setting(name)) for name in ("config_file", "hba_file", "ident_file")}
    owners = {facts.options.os_user, "root"}
    problems = [problem for path in sorted(paths) for problem in permissions(path, owners, 0o640)]
    return verdict(problems, f"{len(paths)} files")


def client_files(facts: Facts) -> Finding:
    """PG-08."""
    problems = []
    home = facts.home()
    history = home / ".psql_history"
    if history.exists() and history.resolve() != Path("/dev/null"):
        problems.append(f"{history} records what was typed")
    password_file = home / ".pgpass"
    if password_file.exists():
        problems += permissions(password_file, {facts.options.os_user}, 0o600)
    services = (home / ".pg_service.conf", facts.etc / "postgresql-common/pg_service.conf")
    for path in services:
        if path.is_file() and re.search(r"^\s*password\s*=", path.read_text(), re.M):
            problems.append(f"{path} holds a password")
    return verdict(problems, "no history, no loose password")


RULES: tuple[Rule[Facts], ...] = (
    Rule("PG-01", "A supported version with its newest fixes, from signed packages", supported),
    Rule("PG-02", "The service starts with the host", enabled),
    Rule(
        "PG-04", "No password in profiles or in processes' environments", no_password_in_environment
    ),
    Rule("PG-05", "Files that the server makes are closed to others", umask),
    Rule("PG-06", "The data directory is closed to others", data_directory),
    Rule("PG-07", "The configuration files are closed to others", configuration_files),
    Rule("PG-08", "No typed statement and no loose password is kept for psql", client_files),
)
