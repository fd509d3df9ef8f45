"""The controls that every host of every engine has, whatever its part: HO-01 to HO-05.

They look at what the roles leave on a host beside a server: units, accounts, folders, keys. What
is *not* here: the controls of a server, which each engine has of its own.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dbops import handles, runner
from dbops.audit.rules import HOST, Finding, Rule, check_waivers, judge, verdict
from dbops.contract import Control
from dbops.targets import Target

CLOSED = 2.5
"""The most that systemd-analyze may give a unit of the kit: 0 is closed, 10 is open."""
DRILLS = 3.5
"""The most for a drill's unit: root starts it, and it makes the namespaces of a cell."""
SERVERS = 3.0
"""The most for a server that another project's unit starts."""
_UNITS = ("dbops-*", "pgbackrest-*")
_EXPOSURE = re.compile(r"Overall exposure level for (\S+): ([\d.]+)")
_ACCOUNTS = (
    "dbops", "dbops-drill", "dbops-repository", "mysql", "pgbackrest", "pgbackrest-gate",
    "postgres", "redis", "valkey",
)  # fmt: skip
_ALONE = ("dbops-drill", "dbops-reader", "dbops-stream", "pgbackrest-gate")
_AGENTS = ("agent", "exporter")
"""Keys of the agent's own: its group has the servers' accounts, whose keys open as much."""
_USAGE = bytes.fromhex("0603551d25")  # id-ce-extKeyUsage, RFC 5280
_PURPOSE = bytes.fromhex("06082b060105050703")  # id-kp, whose next byte says which


@dataclass(frozen=True)
class Host:
    """One host as an auditor sees it; ``service`` is its server's unit, if it has one."""

    target: Target
    service: str | None = None
    etc: Path = field(default=Path("/etc"))
    folders: tuple[Path, ...] = (
        Path("/etc/dbops/targets"),
        Path("/etc/dbops/secrets"),
        Path("/etc/dbops/tls"),
        Path("/opt/dbops/bin"),
    )


def units(host: Host) -> Finding:
    """HO-01."""
    listing = runner.Command(
        ("systemctl", "list-unit-files", "--type=service", "--no-legend", "--plain", *_UNITS),
        timeout_seconds=30,
    )
    names = [line.split()[0] for line in runner.capture(listing).stdout.splitlines() if line]
    # A template is judged by one of its instances: all have the same lines.
    limits = {
        name.replace("@.", "@x."): DRILLS if name.startswith("dbops-drill-") else CLOSED
        for name in names
    }
    if host.service is not None and not host.service.startswith("dbops-"):
        limits[host.service] = SERVERS
    found = _exposures(list(limits))
    problems = [
        f"{name} is open to {found[name]:.1f} of 10, more than {limit:.1f}"
        for name, limit in limits.items()
        if name in found and found[name] > limit
    ]
    problems += [f"{name} cannot be judged" for name in limits if name not in found]
    return verdict(problems, f"{len(limits)} units, none above {max(found.values(), default=0)}")


def _exposures(names: Sequence[str]) -> dict[str, float]:
    command = runner.Command(
        ("systemd-analyze", "security", "--no-pager", *names), timeout_seconds=60
    )
    said = runner.capture(command).stdout if names else ""
    return {name: float(level) for name, level in _EXPOSURE.findall(said)}


def logins(host: Host) -> Finding:
    """HO-02."""
    if not Path("/usr/sbin/sshd").exists():
        return Finding("not applicable", "no sshd is installed")
    problems = []
    names = [name for name in _ACCOUNTS if _exists(name)]
    for name in names:
        about = f"user={name},host=localhost,addr=127.0.0.1"
        command = runner.Command(("/usr/sbin/sshd", "-T", "-C", about), timeout_seconds=30)
        if f"denyusers {name}" not in runner.check(command).stdout.lower().splitlines():
            problems.append(f"sshd lets {name} in with a key that lies in its home")
    return verdict(problems, f"{len(names)} accounts of services cannot log in")


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def parents(host: Host) -> Finding:
    """HO-03."""
    places = [*host.folders, host.target.state_dir]
    found = [handles.changeable_by_others(place) for place in places]
    return verdict([words for words in found if words], f"{len(places)} folders are root's")


def keys(host: Host) -> Finding:
    """HO-04."""
    place = host.etc / "dbops/tls"
    problems = []
    names = sorted(path.stem for path in place.glob("*.key"))
    contents = {(place / f"{name}.key").read_bytes() for name in names}
    if len(names) > 1 and len(contents) == 1:
        return Finding("not applicable", "one certificate of the user's own serves every purpose")
    for name in names:
        problems += _key(place / f"{name}.key")
        usages = _usages((place / f"{name}.crt").read_text(encoding="ascii"))
        if usages != 1:
            problems.append(f"{name}.crt may be used in {usages} ways, and not in one")
    return verdict(problems, f"{', '.join(names)}: one reader and one usage each")


def _key(path: Path) -> list[str]:
    about = path.stat()
    mode = stat.S_IMODE(about.st_mode)
    group = grp.getgrgid(about.st_gid)
    primary = {one.pw_name for one in pwd.getpwall() if one.pw_gid == group.gr_gid}
    readers = {*group.gr_mem, *primary} - {"root"}
    problems = []
    if about.st_uid != 0 or mode & ~0o640:
        problems.append(f"{path} has owner {about.st_uid} and mode {mode:04o}")
    if mode & stat.S_IRGRP and len(readers) > 1 and path.stem not in _AGENTS:
        problems.append(f"{path} is read by {', '.join(sorted(readers))}")
    return problems


def _usages(pem: str) -> int:
    """Return how many usages a certificate names."""
    encoded = ssl.PEM_cert_to_DER_cert(pem)
    at = encoded.find(_USAGE)
    return encoded[at:].count(_PURPOSE) if at >= 0 else 0


def groups(host: Host) -> Finding:
    """HO-05."""
    names = [name for name in _ALONE if _exists(name)]
    problems = []
    for name in names:
        own = pwd.getpwnam(name).pw_gid
        others = [grp.getgrgid(one).gr_name for one in os.getgrouplist(name, own) if one != own]
        if others:
            problems.append(f"{name} is in the group {' and '.join(others)}")
    return verdict(problems, f"{', '.join(names) or 'no such account'}: in no other group")


RULES: tuple[Rule[Host], ...] = (
    Rule("HO-01", "Every unit runs in a sandbox", units),
    Rule("HO-02", "Accounts of services cannot be logged in to by SSH", logins),
    Rule("HO-03", "What plays manage can be replaced by root alone", parents),
    Rule("HO-04", "Each TLS key has one reader, and its certificate one usage", keys),
    Rule("HO-05", "Accounts that strangers' requests and data reach are in no group", groups),
)


def audit(host: Host, waivers: dict[str, str]) -> list[Control]:
    """Return how this host stands to every control; a waiver of another one is not looked at."""
    mine = {name: reason for name, reason in waivers.items() if name.startswith(HOST)}
    check_waivers(RULES, mine)
    return judge(RULES, host, mine)
