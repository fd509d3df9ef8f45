"""Other servers than an engine's first: Valkey for Redis, and MySQL for MariaDB.

MySQL itself comes from the vendor's apt repository; in the lab the distribution's unstable release,
on the mirror that the hosts have anyway, stands in for it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.machine import LabError

MYSQL = "DBOPS_MYSQL_FLAVOR"
REDIS = "DBOPS_REDIS_FLAVOR"
_SUITE = "sid"
# The server and what it needs newer than the release has it.
_PACKAGES = (
    "mysql-*",
    "libgoogle-perftools4t64",
    "libtcmalloc-minimal4t64",
    "libunwind8",
    "libstdc++6",
    "libgcc-s1",
    "gcc-*-base",
)
_KEY = "/etc/apt/trusted.gpg.d/debian-archive-trixie-automatic.asc"


def write(folder: Path, read: Callable[[str], str]) -> None:
    """Write into an inventory what ``DBOPS_MYSQL_FLAVOR`` asks for, and take back what it does not.

    ``read`` returns what a shell line prints on one of the hosts.
    """
    path = folder / "zz_mysql_flavor.yml"
    if os.environ.get(MYSQL, "mariadb") != "mysql":
        path.unlink(missing_ok=True)
        return
    found = {"mysql": {"vars": variables(read("cat /etc/apt/sources.list"), read(f"cat {_KEY}"))}}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def write_redis(folder: Path) -> None:
    """Write into an inventory what ``DBOPS_REDIS_FLAVOR`` asks for, and take back what not."""
    path = folder / "zz_redis_flavor.yml"
    flavor = os.environ.get(REDIS, "redis")
    if flavor == "redis":
        path.unlink(missing_ok=True)
        return
    path.write_text(json.dumps({"redis": {"vars": {"redis_flavor": flavor}}}) + "\n")


def variables(sources: str, key: str) -> dict[str, Any]:
    """Return the role's variables, given the hosts' own list of sources and the archive's key."""
    mirror = re.search(r"^deb (?:\[[^]]*\] )?(\S+)", sources, re.M)
    if mirror is None:
        raise LabError("the lab's hosts name no mirror in /etc/apt/sources.list.")
    return {
        "mysql_flavor": "mysql",
        "mysql_apt_repository": {
            "uri": mirror[1],
            "suite": _SUITE,
            "components": "main",
            "key": key,
            "packages": list(_PACKAGES),
            "check_valid_until": False,
        },
    }
