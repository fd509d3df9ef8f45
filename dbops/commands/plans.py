"""Carry out a plan from the command line: shown only, confirmed, locked, with progress."""

from __future__ import annotations

import time
from typing import Any

from dbops import lock, runner
from dbops.commands import options, output
from dbops.runner import Plan
from dbops.targets import Target


def carry_out(
    target: Target,
    plan: Plan,
    confirm: str | None,
    effect: str,
    done: str,
    *,
    work: str = "restore",
    dry_run: bool,
    json_output: bool,
) -> None:
    """Show ``plan`` (``dry_run``), or ask for the cluster's name and run it with progress.

    ``effect`` ends the sentence "This …", ``done`` is printed at the end, and ``work`` is what only
    one run may do at a time. Raises Refused without the exact name, Busy while another run goes on.
    """
    steps = list(runner.describe(plan))
    if dry_run:
        if json_output:
            output.data({"cluster": target.cluster, "steps": steps})
        else:
            for number, step in enumerate(steps, 1):
                output.line(f"{number}. {step}")
            if not steps:
                output.line("There is nothing to do.")
        return
    options.require_confirmation(target, confirm, effect)
    times: list[dict[str, Any]] = []
    started = time.monotonic()
    with lock.hold(target, work), output.progress() as progress:

        def tell(step: runner.Step) -> None:
            times.append({"step": step.describe(), "at_seconds": time.monotonic() - started})
            progress(step.title or step.describe())

        runner.run(plan, tell, progress)
    if json_output:
        seconds = time.monotonic() - started
        output.data({"cluster": target.cluster, "steps": times, "seconds": seconds})
    else:
        output.line(done)
