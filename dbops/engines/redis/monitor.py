"""Samples of one target, by this host's part in the cluster.

A value that cannot be had has a ``_known`` of 0 beside it and is never reported as well. What is
*not* here: HTTP, deadlines and the labels ``engine``, ``cluster`` and ``instance_name``, which the
exporter adds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from dbops import status
from dbops.contract import Sample
from dbops.engines.redis import member_metrics, options
from dbops.manifest import Kind
from dbops.monitor import samples
from dbops.targets import Target

METHOD = "restic"
KINDS: tuple[Kind, ...] = ("full", "log")


def collect(target: Target) -> Iterable[Sample]:
    """Yield the samples of ``target``; Unreachable after the local ones when the server is down."""
    opts = options.read(target)
    yield from samples.objectives(target)
    if target.part == "member":
        yield from member_metrics.collect(target, opts)
    elif target.part == "repository":
        yield from samples.disk("backup", opts.repo_path)
        found, intervals = status.read(target), opts.schedule_interval_seconds
        yield from samples.backups(found, METHOD, KINDS, intervals)
        yield from samples.exposure(samples.noted_newest(found), time.time())
    else:
        yield from samples.disk("scratch", opts.require_path("scratch_dir"))
        yield from samples.drills(target, METHOD, opts.drill_interval_seconds or 0.0)
