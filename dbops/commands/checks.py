"""``dbops engines``, ``check``, ``audit`` and ``status``: what is here and how it stands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from dbops import engines, targets
from dbops.commands import options, output
from dbops.contract import VERBS, Check, Control, Sample
from dbops.errors import DbopsError, UnsupportedVerb, VerificationFailed
from dbops.exporter.collecting import Collected, Collector
from dbops.targets import Target


@click.command("engines")
@options.as_json
def engines_command(json_output: bool) -> None:
    """Show what each engine can do.

    \b
    Examples:
      dbops engines
      dbops engines --json
    """
    records = [engines.get(name) for name in engines.NAMES]
    if json_output:
        output.data(
            [
                {"name": engine.name, "title": engine.title, "default_port": engine.default_port}
                | {verb: engine.supports(verb) for verb in VERBS}
                for engine in records
            ]
        )
        return
    rows = [
        [engine.title, *("yes" if engine.supports(verb) else "-" for verb in VERBS)]
        for engine in records
    ]
    output.table(["Engine", *VERBS], rows)


@click.command()
@options.cluster
@options.as_json
def check(cluster: str | None, json_output: bool) -> None:
    """Check every cluster of this host: one line per check, OK or FAILED with a hint.

    Ends with status 6 when a check failed.

    \b
    Examples:
      dbops check
      dbops check --cluster flights --json
    """
    names = options.pick_names(cluster)
    found: list[dict[str, Any]] = []
    failed = 0
    for name in names:
        for one in _checks(name):
            found.append({"cluster": name, **asdict(one)})
            failed += not one.ok
            if not json_output:
                output.line((f"{name}: " if len(names) > 1 else "") + _check_line(one))
    if json_output:
        output.data(found)
    if failed:
        raise VerificationFailed(f"{failed} of {len(found)} checks failed.")


def _checks(name: str) -> Iterator[Check]:
    try:
        target = targets.load(name, options.targets_dir())
        yield Check("target file", True)
        run = options.ability(target, lambda engine: engine.check, "checks")
        yield from run(target)
    except UnsupportedVerb:
        raise
    except DbopsError as error:
        yield Check("target file" if "arget" in str(error)[:12] else "checks", False, str(error))


def _check_line(one: Check) -> str:
    if one.ok:
        return f"{one.name}: OK"
    detail = f" ({one.detail.rstrip('.')})" if one.detail else ""
    hint = f". Hint: {one.hint}" if one.hint else ""
    return f"{one.name}: FAILED{detail}{hint}"


@click.command()
@options.cluster
@options.as_json
@click.option("--metrics", is_flag=True, help="Print Prometheus text.")
def audit(cluster: str | None, json_output: bool, metrics: bool) -> None:
    """Report how every hardening control stands: pass, fail, waived with a reason, not applicable.

    Ends with status 6 when a control fails.

    \b
    Examples:
      dbops audit
      dbops audit --cluster flights --json
      dbops audit --metrics > /var/lib/node_exporter/dbops_audit.prom
    """
    audited = [_audit(name) for name in options.pick_names(cluster)]
    if metrics:
        from dbops.exporter.server import encode

        samples = [sample for target, found in audited for sample in audit_samples(target, found)]
        click.echo(encode(samples), nl=False)
    elif json_output:
        output.data([{"cluster": t.cluster, **asdict(c)} for t, found in audited for c in found])
    else:
        for target, found in audited:
            rows = [[c.control_id, c.status, c.title, c.reason or c.detail] for c in found]
            output.table(["Control", "Status", "Title", "Detail"], rows, title=target.cluster)
    failed = [c.control_id for _, found in audited for c in found if c.status == "fail"]
    if failed:
        raise VerificationFailed(f"{len(failed)} controls fail: {', '.join(failed)}.")


def _audit(name: str) -> tuple[Target, list[Control]]:
    target = targets.load(name, options.targets_dir())
    return target, list(options.ability(target, lambda engine: engine.audit, "audit")(target))


def audit_samples(target: Target, controls: list[Control]) -> Iterator[Sample]:
    """Yield one sample for each control (1 fails, 0 does not) and one count for each status."""
    labels = (
        ("engine", target.engine),
        ("cluster", target.cluster),
        ("instance_name", target.member),
    )
    for control in controls:
        yield Sample(
            "dbops_audit_control_failed",
            float(control.status == "fail"),
            (*labels, ("control", control.control_id)),
            "Whether a hardening control fails.",
        )
    for status in ("pass", "fail", "waived", "not applicable"):
        yield Sample(
            "dbops_audit_controls",
            float(sum(control.status == status for control in controls)),
            (*labels, ("status", status)),
            "How many hardening controls have this status.",
        )
    yield Sample(
        "dbops_audit_last_timestamp_seconds", time.time(), labels, "When the audit was done."
    )


@click.command()
@options.cluster
@options.as_json
@click.option(
    "--timeout",
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for a server.",
)
def status(cluster: str | None, json_output: bool, timeout: float) -> None:
    """Show every cluster of this host: up, role, replication lag, last backup, last drill.

    \b
    Examples:
      dbops status
      dbops status --json
    """
    found = [
        summarize(Collector(targets.load(name, options.targets_dir())).collect(timeout))
        for name in options.pick_names(cluster)
    ]
    if json_output:
        output.data(found)
        return
    output.table(STATUS_COLUMNS, [status_row(one) for one in found])
    for one in found:
        if one["error"]:
            output.note(f"{one['cluster']}: {one['error']}")
    sys.stdout.flush()


STATUS_COLUMNS = (
    "Cluster",
    "Engine",
    "Part",
    "Member",
    "Up",
    "Role",
    "Lag>",
    "Last backup",
    "Drill",
)


def summarize(collected: Collected) -> dict[str, Any]:
    """Return the few values that tell how a target stands, from its samples."""
    samples = collected.samples
    target = collected.target
    backups = _values(samples, "dbops_backup_last_success_timestamp_seconds")
    drills = _values(samples, "dbops_restore_drill_last_timestamp_seconds")
    results = _values(samples, "dbops_restore_drill_last_result")
    roles = [
        dict(sample.labels).get("role", "")
        for sample in samples
        if sample.name == "dbops_role" and sample.value == 1
    ]
    return {
        "cluster": target.cluster,
        "engine": target.engine,
        "part": target.part,
        "member": target.member,
        "up": bool(min(_values(samples, "dbops_up"), default=0)),
        "role": roles[0] if roles else None,
        "lag_seconds": max(_values(samples, "dbops_replication_lag_seconds"), default=None),
        "last_backup": _moment(max(backups, default=0)),
        "last_drill": _moment(max(drills, default=0)),
        "last_drill_proven": bool(min(results)) if results and any(drills) else None,
        "error": collected.failure or None,
    }


def _values(samples: tuple[Sample, ...], name: str) -> list[float]:
    return [s.value for s in samples if s.name == name and s.value == s.value]


def _moment(timestamp: float) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC) if timestamp > 0 else None


def status_row(one: dict[str, Any]) -> list[str]:
    """Return one row of the status table; times may be text, as they come from JSON."""
    proven = one["last_drill_proven"]
    return [
        one["cluster"],
        one["engine"],
        one["part"],
        one["member"],
        "yes" if one["up"] else "DOWN",
        one["role"] or "-",
        output.seconds(one["lag_seconds"]),
        output.when(_as_time(one["last_backup"])),
        "-" if proven is None else "proven" if proven else "NOT PROVEN",
    ]


def _as_time(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
