"""SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5803, RFC 7677).

With them the server never sees a plain password, and a stored one is compared without a login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata

SALT_BYTES = 16
ITERATIONS = 4096
STORED = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")

_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(password: str) -> bytes:
    """Return the bytes that are hashed: SASLprep (RFC 4013), or as they are where it refuses.

    PostgreSQL and libpq fall back to the raw bytes in the same way.
    """
    if password.isascii():
        return password.encode()
    spaced = (" " if stringprep.in_table_c12(char) else char for char in password)
    mapped = "".join(char for char in spaced if not stringprep.in_table_b1(char))
    text = unicodedata.normalize("NFKC", mapped)
    if not text or any(table(char) for char in text for table in _PROHIBITED):
        return password.encode()
    if any(map(stringprep.in_table_d1, text)):
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends or any(map(stringprep.in_table_d2, text)):
            return password.encode()
    return text.encode()


def verifier(password: str, iterations: int = ITERATIONS, salt: bytes | None = None) -> str:
    """Return the text to store for ``password``, with a fresh salt unless one is given."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    parts = (salt, hashlib.sha256(client_key).digest(), server_key)
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in parts)
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def is_verifier(text: str) -> bool:
    """Tell whether ``text`` is a stored SCRAM verifier rather than a password."""
    return STORED.fullmatch(text) is not None


def matches(password: str, stored: str | None, iterations: int = 1) -> bool:
    """Tell whether ``stored`` is a SCRAM verifier of ``password`` with at least ``iterations``.

    ``password`` may be a verifier itself: then the two must be equal.
    """
    found = STORED.fullmatch(stored or "")
    if found is None or stored is None:
        return False
    if is_verifier(password):
        return hmac.compare_digest(password, stored)
    count = int(found[1])
    if count < iterations:
        return False
    again = verifier(password, count, base64.b64decode(found[2]))
    return hmac.compare_digest(again, stored)
