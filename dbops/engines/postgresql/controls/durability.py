"""Controls of the data: checksums, safe settings, archive, backups."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dbops.audit.rules import Finding, Rule, Wanted, settings, verdict
from dbops.engines.postgresql import pgbackrest
from dbops.engines.postgresql.controls.facts import Facts

_ARCHIVER = """
SELECT last_archived_time, last_failed_time > coalesce(last_archived_time, '-infinity')
FROM pg_stat_archiver"""
_TABLESPACES = """
SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname !~ '^pg_'"""
_SAFE: Wanted = {
    "fsync": "on",
    "full_page_writes": "on",
    "ignore_checksum_failure": "off",
    "zero_damaged_pages": "off",
    "allow_system_table_mods": "off",
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
}
_DAY = 86400.0


def archive(facts: Facts) -> Finding:
    """PG-29."""
    problems = []
    if facts.setting("archive_mode") not in ("on", "always"):
        problems.append("archive_mode is off")
    if not facts.setting("archive_command") and not facts.setting("archive_library"):
        problems.append("neither archive_command nor archive_library is set")
    if not facts.standby:
        last, failing = facts.rows(_ARCHIVER)[0]
        if last is None:
            problems.append("nothing was archived yet")
        if failing:
            problems.append("the newest attempt to archive failed")
    return verdict(problems + _age(facts), "log and backups arrive")


def _age(facts: Facts) -> list[str]:
    intervals = facts.options.schedule_interval_seconds.values()
    limit = 2 * max([_DAY, *intervals])
    backups = [one for one in pgbackrest.info(facts.options).backups if not one.error]
    if not backups:
        return ["the repository holds no backup"]
    age = (datetime.now(UTC) - backups[-1].stop).total_seconds()
    return [f"the newest backup is {age / 3600:.0f} h old"] if age > limit else []


def repository(facts: Facts) -> Finding:
    """PG-30."""
    data = facts.options.require_path("data_dir")
    problems = [
        f"tablespace {name!r} lies inside the data directory"
        for name, place in facts.rows(_TABLESPACES)
        if Path(place).is_relative_to(data)
    ]
    if not pgbackrest.info(facts.options).encrypted:
        problems.append("the repository is not encrypted")
    if not facts.standby:
        pgbackrest.ask(facts.options, "check", "--archive-timeout=60", timeout_seconds=180)
    return verdict(problems, "encrypted" + ("" if facts.standby else ", and its own check passes"))


RULES: tuple[Rule[Facts], ...] = (
    Rule("PG-03", "Every data page carries a checksum", settings({"data_checksums": "on"})),
    Rule("PG-27", "No setting trades the data for speed or hides damage", settings(_SAFE)),
    Rule("PG-29", "Log is archived and backups are young", archive),
    Rule("PG-30", "The backup repository is configured, encrypted and answers", repository),
)
