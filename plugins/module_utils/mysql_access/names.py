"""Names as the server takes them, how they stand in SQL, and the one error of this package."""

from __future__ import annotations

from dataclasses import dataclass

PUBLIC = "PUBLIC"


class AccessError(Exception):
    """What was declared cannot be done; the text is one sentence for the person who declared it."""


@dataclass(frozen=True, order=True)
class Grantee:
    """An account, or a role when ``host`` is empty."""

    name: str
    host: str = ""

    @property
    def is_role(self) -> bool:
        """Whether it is a role, or everybody."""
        return not self.host

    def sql(self) -> str:
        """Return it as SQL."""
        if not self.is_role:
            return f"{text(self.name)}@{text(self.host)}"
        return PUBLIC if self.name == PUBLIC else identifier(self.name)

    def __str__(self) -> str:
        return self.name if self.is_role else f"{self.name}@{self.host}"


def check_name(value: str, where: str, limit: int) -> str:
    """Return ``value``; AccessError, naming ``where``, when the server cannot take it literally."""
    if not value or value != value.strip():
        raise AccessError(f"{where}: {value!r} is no name: it is empty or has blanks around it.")
    if len(value) > limit:
        raise AccessError(f"{where}: the name {value!r} has more than {limit} characters.")
    if any(ord(char) < 32 or ord(char) > 0xFFFF for char in value):
        raise AccessError(f"{where}: the name {value!r} holds characters no name may have.")
    return value


def identifier(value: str) -> str:
    """Return a name as a quoted identifier."""
    return "`" + value.replace("`", "``") + "`"


def text(value: str) -> str:
    """Return a text as a quoted literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def required(subject: str) -> str:
    """Return what an account needs that must show the certificate of ``subject``."""
    return f"SUBJECT {text(subject)}"


def literally(database: str) -> str:
    """Return a database's name as a pattern that means only itself."""
    escaped = database.replace("\\", "\\\\")
    return escaped.replace("_", "\\_").replace("%", "\\%")
