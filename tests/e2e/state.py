"""What a fleet looks like, so that a test can tell that something changed, or that nothing did."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.hosts import Site

_FOLDERS = "/etc /opt/dbops/bin /usr/local /var/spool/cron"
_LISTED = "/ /tmp /root /home/ops /var/lib /var/lib/postgresql/* /var/lib/dbops /etc/cron.d"
_UNITS = "dbops|postgres|pgbackrest|redis|valkey|mariadb|mysql"
_FILES = f"""
cd /
find {_FOLDERS} -xdev -printf '%y %p %u:%g %m %l\\n' 2>/dev/null | grep -v '/etc/mtab' | sort
find {_FOLDERS} -xdev -type f -exec sha256sum {{}} + 2>/dev/null | sort -k2
ls -dl --time-style=+ {_LISTED} 2>/dev/null | awk '{{print $1, $3, $4, $NF}}'
ls -A {_LISTED} 2>/dev/null | grep -vE 'systemd-private|^\\.ansible|ansible'
systemctl list-unit-files --no-legend | grep -E '{_UNITS}'
systemctl list-units --all --plain --no-legend -t timer | awk '/dbops|pgbackrest/{{print $1, $3}}'
"""


def state(site: Site) -> dict[str, str]:
    """Return, by host, files with modes and content, units, and what a server holds inside."""
    with ThreadPoolExecutor() as pool:
        texts = pool.map(lambda host: _host(site, host), site.hosts)
        return dict(zip(site.hosts, texts, strict=True))


def files(site: Site, host: str) -> str:
    """Return the files of a host, with modes and content, and its units."""
    return site.root(host, _FILES, ok=False)


def _host(site: Site, host: str) -> str:
    return files(site, host) + "\n" + site.inside(host)


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the lines that differ, each with its host."""
    found = []
    for host, text in after.items():
        lines = difflib.unified_diff(before[host].splitlines(), text.splitlines(), n=0, lineterm="")
        found += [f"{host}: {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]
    return found
