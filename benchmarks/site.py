"""``site.yml`` over every engine's hosts: the first run, and a second one that changes nothing."""

from __future__ import annotations

from benchmarks.measuring import RUNS, Hosts, Row, interleaved
from lab.fleet import FLEETS

ENGINES = tuple(FLEETS)


class Bench(Hosts):
    """All hosts of the lab."""


def _second(bench: Bench) -> list[Row]:
    hosts = len(bench.lab.hosts)
    ours, peer = interleaved(lambda: bench.site_yml("dbops_fast"), bench.site_yml)
    what = f"site.yml, second run over {hosts} hosts: with mitogen against without, s"
    per_host = [seconds / hosts for seconds in peer]
    return [
        Row(what, ours, peer, "-"),
        Row("the same without mitogen, s a host", per_host, [], "12 or less"),
    ]


PARTS = {"second": _second}
__all__ = ["ENGINES", "PARTS", "RUNS", "Bench"]
