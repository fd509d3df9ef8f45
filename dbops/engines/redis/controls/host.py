"""Controls of the host: package, files, service, kernel."""

from __future__ import annotations

import pwd
from datetime import UTC, date, datetime

from dbops import runner
from dbops.audit.member_controls import package
from dbops.audit.rules import Finding, Rule, permissions, verdict
from dbops.engines.redis.controls.facts import Facts
from dbops.targets import read_secret

# Until when somebody mends each series: the project itself, or Debian's long-term support.
END_OF_SUPPORT = {
    ("redis", "7.0"): date(2028, 6, 30),
    ("redis", "7.2"): date(2027, 2, 28),
    ("redis", "7.4"): date(2027, 11, 30),
    ("redis", "8.0"): date(2030, 6, 30),
    ("redis", "8.2"): date(2030, 6, 30),
    ("valkey", "8.0"): date(2029, 9, 15),
    ("valkey", "8.1"): date(2030, 6, 30),
    ("valkey", "9.0"): date(2030, 10, 21),
}
_SANDBOX = {"NoNewPrivileges": {"yes"}, "PrivateTmp": {"yes"}, "ProtectSystem": {"full", "strict"}}
_NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")


def supported(facts: Facts) -> Finding:
    """RD-01."""
    flavor = facts.options.flavor
    version = facts.info.get("valkey_version") or facts.info["redis_version"]
    series = ".".join(version.split(".")[:2])
    end = END_OF_SUPPORT.get((flavor, series))
    problems = []
    if end is None or datetime.now(UTC).date() > end:
        problems.append(f"{flavor} {series} is not in its support window")
    problems += package(f"{flavor}-server")
    return verdict(problems, f"{flavor} {version}, supported until {end}")


def configuration(facts: Facts) -> Finding:
    """RD-08."""
    path = facts.options.require_path("config_file")
    problems = permissions(path, {"root", facts.options.os_user}, 0o640)
    said = (facts.proc / str(facts.process) / "cmdline").read_bytes().decode("utf-8", "replace")
    words = said.split("\0")
    if any(word in ("--requirepass", "--masterauth") for word in words):
        problems.append("a password stands in the server's command line")
    known = facts.options.admin_password_file
    if known is not None and read_secret(known) in said:
        problems.append("the administrator's password stands in the server's command line")
    return verdict(problems, f"{path}, and no password in the command line")


def data_files(facts: Facts) -> Finding:
    """RD-09."""
    place = facts.options.require_path("data_dir")
    owners = {facts.options.os_user}
    problems = permissions(place, owners, 0o750)
    count = 0
    for path in sorted(place.rglob("*")):
        try:
            problems += permissions(path, owners, 0o750 if path.is_dir() else 0o640)
            count += 1
        except FileNotFoundError:
            continue
    return verdict(problems, f"{place} and {count} files in it")


def service(facts: Facts) -> Finding:
    """RD-10."""
    problems = []
    account = pwd.getpwnam(facts.options.os_user)
    running = (facts.proc / str(facts.process)).stat().st_uid
    if running == 0 or running != account.pw_uid:
        problems.append(f"the server runs with the user id {running}")
    if account.pw_shell not in _NO_SHELLS:
        problems.append(f"{account.pw_name} has the shell {account.pw_shell}")
    unit = str(facts.options.require("service"))
    names = ",".join(_SANDBOX)
    command = runner.Command(("systemctl", "show", "-p", names, unit), timeout_seconds=30)
    found = dict(
        line.split("=", 1) for line in runner.check(command).stdout.splitlines() if "=" in line
    )
    problems += [
        f"{name} is {found.get(name, 'unset')}"
        for name, good in _SANDBOX.items()
        if found.get(name) not in good
    ]
    return verdict(problems, f"{account.pw_name}, {unit} is sandboxed")


def kernel(facts: Facts) -> Finding:
    """RD-21."""
    problems = []
    overcommit = (facts.proc / "sys/vm/overcommit_memory").read_text().strip()
    if overcommit != "1":
        problems.append(f"vm.overcommit_memory is {overcommit}")
    if problems and facts.in_container():
        return Finding(
            "not applicable", f"{problems[0]}: it is the machine's around this container"
        )
    pages = facts.sys / "kernel/mm/transparent_hugepage/enabled"
    if pages.exists() and "[always]" in pages.read_text():
        problems.append("transparent huge pages are forced on")
    backlog = (facts.proc / "sys/net/core/somaxconn").read_text().strip()
    if int(backlog) < int(facts.setting("tcp-backlog") or 0):
        problems.append(f"net.core.somaxconn {backlog} is below tcp-backlog")
    return verdict(problems, f"overcommit {overcommit}, somaxconn {backlog}")


RULES: tuple[Rule[Facts], ...] = (
    Rule("RD-01", "A supported version with its newest fixes", supported),
    Rule("RD-08", "The configuration is closed, and no password in a command line", configuration),
    Rule("RD-09", "The data are closed to others", data_files),
    Rule("RD-10", "The server runs sandboxed, as an account without a shell", service),
    Rule("RD-21", "The kernel lets the server fork and queue", kernel),
)
