"""What a fleet looks like, so that a test can tell that something changed, or that nothing did."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.postgresql.hosts import MEMBERS, Site

_FOLDERS = "/etc /opt/dbops/bin /usr/local /var/spool/cron"
_LISTED = "/ /tmp /root /home/ops /var/lib /var/lib/postgresql/* /var/lib/dbops /etc/cron.d"
_FILES = f"""
cd /
find {_FOLDERS} -xdev -printf '%y %p %u:%g %m %l\\n' 2>/dev/null | grep -v '/etc/mtab' | sort
find {_FOLDERS} -xdev -type f -exec sha256sum {{}} + 2>/dev/null | sort -k2
ls -dl --time-style=+ {_LISTED} 2>/dev/null | awk '{{print $1, $3, $4, $NF}}'
ls -A {_LISTED} 2>/dev/null | grep -vE 'systemd-private|^\\.ansible|ansible'
systemctl list-unit-files --no-legend | grep -E 'dbops|postgres|pgbackrest'
systemctl list-units --all --plain --no-legend -t timer | awk '/dbops|pgbackrest/{{print $1, $3}}'
"""
_SERVER = """
SELECT 'role', r.rolname, to_jsonb(r) - 'oid' FROM pg_authid r ORDER BY 2;
SELECT 'member', roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 2, 3;
SELECT 'setting', setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 2, 3;
SELECT 'database', datname, datdba::regrole, datacl FROM pg_database ORDER BY 2;
SELECT 'file', name, setting FROM pg_file_settings WHERE applied ORDER BY 2, 3;
"""
_DATABASE = """
SELECT 'schema', nspname, nspowner::regrole, nspacl FROM pg_namespace
WHERE nspname !~ '^pg_(toast_)?temp' ORDER BY 2;
SELECT 'relation', oid::regclass::text, relowner::regrole, relacl FROM pg_class
WHERE relnamespace >= 16384 AND relkind NOT IN ('t', 'i') ORDER BY 2;
SELECT 'function', oid::regprocedure::text, proacl FROM pg_proc WHERE proacl IS NOT NULL ORDER BY 2;
SELECT 'default', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, defaclacl
FROM pg_default_acl ORDER BY 2, 3, 4;
"""


def state(site: Site) -> dict[str, str]:
    """Return, by host, files with their modes and content, units, roles and privileges."""
    with ThreadPoolExecutor() as pool:
        texts = pool.map(lambda host: _host(site, host), site.lab.hosts)
        return dict(zip(site.lab.hosts, texts, strict=True))


def _host(site: Site, host: str) -> str:
    text = site.root(host, _FILES, ok=False)
    if host in MEMBERS:
        psql = "cd /; runuser -u postgres -- psql -XAtq"
        text += "\n" + site.root(host, f"{psql} postgres <<'SQL'\n{_SERVER}\n{_DATABASE}\nSQL")
        text += "\n" + site.root(host, f"{psql} flights <<'SQL'\n{_DATABASE}\nSQL")
    return text


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the lines that differ, each with its host."""
    found = []
    for host, text in after.items():
        lines = difflib.unified_diff(before[host].splitlines(), text.splitlines(), n=0, lineterm="")
        found += [f"{host}: {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]
    return found
