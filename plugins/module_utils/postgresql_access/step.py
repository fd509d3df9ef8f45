"""One change: the SQL that makes it, a line for people, and its part of the difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from .names import PUBLIC

Statement = sql.SQL | sql.Composed


@dataclass(frozen=True)
class Step:
    """A statement and what it changes.

    ``before`` and ``after`` are lines of state that vanish and appear. ``masked`` replaces a
    statement that holds a secret wherever it is shown. ``run_as`` is the role whose own grant is
    taken back, as PostgreSQL takes back only what the current role granted.
    """

    statement: Statement
    line: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    masked: Statement | None = None
    run_as: str | None = None

    def texts(self) -> list[str]:
        """Return the statements as text that may be shown to anybody."""
        text = (self.masked or self.statement).as_string(None)
        if self.run_as is None:
            return [text]
        become = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(self.run_as))
        return [become.as_string(None), text, "RESET ROLE"]


def role_name(name: str) -> sql.Composable:
    """Return a grantee as SQL."""
    return sql.SQL("PUBLIC") if name == PUBLIC else sql.Identifier(name)


def words(items: Iterable[str]) -> sql.Composable:
    """Return fixed SQL keywords joined by commas. Never give it text from outside."""
    return sql.SQL(", ").join(map(sql.SQL, items))


def difference(steps: Iterable[Step]) -> dict[str, str]:
    """Return the sorted lines that vanish and appear, in the shape of Ansible's ``diff``."""
    steps = list(steps)
    before = sorted({line for step in steps for line in step.before})
    after = sorted({line for step in steps for line in step.after})
    return {
        "before": "".join(f"{line}\n" for line in before),
        "after": "".join(f"{line}\n" for line in after),
    }
