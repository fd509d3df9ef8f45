"""Names as PostgreSQL takes them, how people see them, and the one error of this package."""

from __future__ import annotations

import json
import re

NAME_BYTES = 63
PUBLIC = ""  # no role can have an empty name


class AccessError(Exception):
    """What was declared cannot be done; the text is one sentence for the person who declared it."""


def check_name(value: str, where: str) -> str:
    """Return ``value`` when PostgreSQL can take it literally as a name.

    Raises AccessError, naming ``where`` it was declared, when it is empty, holds a NUL or a lone
    surrogate, or has more than 63 bytes, which the server would cut off silently.
    """
    if not value:
        raise AccessError(f"{where}: a name must not be empty.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise AccessError(f"{where}: the name {shown(value)} is not valid Unicode.") from None
    if "\0" in value:
        raise AccessError(f"{where}: the name {shown(value)} holds a NUL character.")
    if size > NAME_BYTES:
        raise AccessError(
            f"{where}: the name {shown(value)} has {size} bytes, and PostgreSQL takes at most"
            f" {NAME_BYTES}."
        )
    return value


def shown(name: str) -> str:
    """Return a name for people: bare when plain, quoted on one line when not."""
    if name == PUBLIC:
        return "PUBLIC"
    if re.fullmatch(r"[a-z0-9_][a-z0-9_$-]*", name):
        return name
    return json.dumps(name, ensure_ascii=not name.isprintable())
