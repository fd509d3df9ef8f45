"""Controls of the server's log: where it goes, what it says, how long it stays."""

from __future__ import annotations

import os
import stat

from dbops.audit.rules import Finding, Rule, Wanted, settings, verdict
from dbops.engines.postgresql.controls.facts import Facts

_VERBOSE = ("debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning")
_LEVELS: Wanted = {
    "log_min_messages": _VERBOSE,
    "log_min_error_statement": (*_VERBOSE, "error"),
}
_DEBUGGING: Wanted = {
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
}
_PREFIX = {"time": "mtn", "process": "pc", "user": "u", "database": "d", "host": "hr"}


def destination(facts: Facts) -> Finding:
    """PG-09."""
    kinds = {part.strip() for part in facts.setting("log_destination").split(",")} - {""}
    if not kinds:
        return Finding("fail", "log_destination is empty")
    if facts.setting("logging_collector") == "on":
        mode = int(facts.setting("log_file_mode") or "0777", 8)
        problems = [] if facts.setting("log_directory") else ["log_directory is empty"]
        if mode & 0o137:
            problems.append(f"log_file_mode is {mode:04o}, more than 0640")
        return verdict(problems, f"collector, mode {mode:04o}")
    if kinds == {"syslog"}:
        return Finding("pass", "syslog")
    return _standard_error(facts)


def _standard_error(facts: Facts) -> Finding:
    place = facts.proc / str(facts.postmaster()) / "fd/2"
    target = os.readlink(place)
    mode = place.stat().st_mode
    if stat.S_ISSOCK(mode):
        return Finding("pass", "the journal")
    if not stat.S_ISREG(mode):
        return Finding("fail", f"the log goes to {target}, where nobody keeps it")
    closed = not mode & 0o137
    words = f"{target} has mode {stat.S_IMODE(mode):04o}"
    return Finding("pass" if closed else "fail", words)


def rotation(facts: Facts) -> Finding:
    """PG-10."""
    if facts.setting("logging_collector") != "on":
        if facts.setting("log_destination") == "syslog":
            return Finding("pass", "syslog's own rotation")
        found = [p for p in (facts.etc / "logrotate.d").glob("*") if "postgres" in p.name]
        journal = os.readlink(facts.proc / str(facts.postmaster()) / "fd/2").startswith("socket:")
        return verdict(
            [] if found or journal else ["neither the collector nor logrotate bounds the log"],
            str(found[0]) if found else "the journal's own rotation",
        )
    problems = []
    if not 0 < int(facts.setting("log_rotation_age") or 0) <= 1440:
        problems.append("log_rotation_age is not within a day")
    if not int(facts.setting("log_rotation_size") or 0):
        problems.append("log_rotation_size is unbounded")
    if facts.setting("log_truncate_on_rotation") != "on":
        problems.append("log_truncate_on_rotation is off")
    return verdict(problems, "by age and size")


def connections(facts: Facts) -> Finding:
    """PG-13."""
    said = facts.setting("log_connections")
    problems = [] if said not in ("", "off") else ["log_connections is off"]
    if facts.setting("log_disconnections") != "on":
        problems.append("log_disconnections is off")
    return verdict(problems, "both are logged")


def lines(facts: Facts) -> Finding:
    """PG-14."""
    prefix = facts.setting("log_line_prefix")
    letters = {prefix[at + 1].lower() for at, c in enumerate(prefix[:-1]) if c == "%"}
    problems = [
        f"log_line_prefix lacks the {what}"
        for what, any_of in _PREFIX.items()
        if not letters & set(any_of)
    ]
    if facts.setting("log_statement") not in ("ddl", "mod", "all"):
        problems.append(f"log_statement is {facts.setting('log_statement')!r}")
    if facts.setting("log_timezone") not in ("UTC", "Etc/UTC", "GMT"):
        problems.append(f"log_timezone is {facts.setting('log_timezone')!r}")
    return verdict(problems, prefix.strip())


def auditing(facts: Facts) -> Finding:
    """PG-15."""
    if "pgaudit" not in facts.preloaded():
        return Finding("not applicable", "the audit profile is off: pgaudit is not loaded")
    value = facts.setting("pgaudit.log")
    empty = value in ("", "none")
    return verdict(["pgaudit is loaded and logs nothing"] if empty else [], f"pgaudit.log={value}")


RULES: tuple[Rule[Facts], ...] = (
    Rule("PG-09", "The log goes to a place that is kept and closed to others", destination),
    Rule("PG-10", "The log is rotated and bounded", rotation),
    Rule("PG-11", "Warnings are logged, and the statement of each error", settings(_LEVELS)),
    Rule("PG-12", "Statements' inner forms are not logged", settings(_DEBUGGING)),
    Rule("PG-13", "Every connection and disconnection is logged", connections),
    Rule("PG-14", "Each line says when, who and from where; schema changes are logged", lines),
    Rule("PG-15", "Statements are audited where the audit profile is on", auditing),
)
