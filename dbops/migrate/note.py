"""What every engine's migration remembers on the host that carries it out, and asks of a proof.

What is *not* here: how one side follows the other and is compared with it (each engine's
``migrate``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from dbops import files
from dbops.contract import MigratedDatabase, Migration
from dbops.errors import Refused
from dbops.targets import Target

_FILE = "migration.json"


def read(target: Target) -> dict[str, Any]:
    """Return what was noted on this host; nothing when there is nothing readable."""
    try:
        found = json.loads((target.state_dir / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(target: Target, **changes: Any) -> None:
    """Change what is noted; None takes a name out."""
    noted = {name: value for name, value in (read(target) | changes).items() if value is not None}
    files.write(target.state_dir / _FILE, json.dumps(noted, indent=1) + "\n", shared=True)


def note_proof(target: Target, **about: Any) -> None:
    """Note that both sides were equal just now, with what was compared."""
    note(target, proven_at=datetime.now(UTC).isoformat(), **about)


def note_switch(target: Target, pause_seconds: float | None = None) -> None:
    """Note that writers were moved here just now, waiting that long; the proof is used up."""
    about = {} if pause_seconds is None else {"pause_seconds": round(pause_seconds, 3)}
    at = datetime.now(UTC).isoformat()
    note(target, switching=None, proven_at=None, switched_at=at, **about)


def require_proof(target: Target, limit_seconds: float) -> None:
    """Raise Refused unless both sides were proven equal within the last ``limit_seconds``."""
    proven = read(target).get("proven_at")
    age = _age(proven) if proven else limit_seconds
    if age >= limit_seconds:
        raise Refused(
            f"The content was not proven equal within the last {limit_seconds / 3600:.0f} h: run "
            "'dbops migrate prove' on this host first."
        )


def _age(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def standing(target: Target, databases: Iterable[MigratedDatabase]) -> Migration:
    """Return how a migration stands: each database's state and what was noted here."""
    noted = read(target)

    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(noted[name]) if name in noted else None

    return Migration(
        databases=tuple(databases),
        proven_at=moment("proven_at"),
        switched_at=moment("switched_at"),
        pause_seconds=noted.get("pause_seconds"),
    )
