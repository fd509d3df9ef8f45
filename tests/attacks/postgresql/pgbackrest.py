"""pgBackRest as somebody uses it who has a host's account and a configuration of his own."""

from __future__ import annotations

from collections.abc import Mapping

from tests.e2e.hosts import Done
from tests.e2e.postgresql.hosts import CLUSTER, Site

FOLDER = "/var/tmp/rt"
_THERE = "/etc/pgbackrest/pgbackrest.conf"


def run(
    site: Site,
    host: str,
    user: str,
    settings: Mapping[str, str | None],
    line: str,
    program: str = "pgbackrest",
) -> Done:
    """Run ``pgbackrest`` with the settings of ``host`` but for some others; it may fail.

    ``None`` takes a setting away. What is fetched is not returned: it need not be text.
    """
    there = site.root(host, f"cat {_THERE}").splitlines()
    kept = [one for one in there if one.partition("=")[0] not in settings]
    for name, value in settings.items():
        if value is not None:
            section = f"[{CLUSTER}]" if name.startswith("pg") else "[global]"
            kept.insert(kept.index(section) + 1, f"{name}={value}")
    site.root(
        host,
        f"mkdir -m 0755 {FOLDER}; cd {FOLDER}; cat > own.conf <<'E'\n" + "\n".join(kept) + "\nE\n"
        f"chown {user} own.conf; chmod 0600 own.conf",
    )
    try:
        command = f"{program} --config={FOLDER}/own.conf --stanza={CLUSTER} {line}"
        return site.run(host, "sh", "-c", f"cd /; exec timeout 60 {command} >/dev/null", user=user)
    finally:
        site.root(host, f"rm -rf {FOLDER}")
