"""What MySQL's ``caching_sha2_password`` stores, so that the server never sees a plain password.

``$A$`` and a thousandth of the rounds in three hexadecimal digits, ``$``, twenty bytes of salt, and
43 characters of digest: SHA-crypt with SHA-256, whose salt may here be longer than elsewhere.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from itertools import cycle, islice

ROUNDS = 10
_SALT = 20
_ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_STORED = re.compile(rb"\$A\$([0-9A-F]{3})\$(.{20})([./0-9A-Za-z]{43})", re.DOTALL)
# In which order the digest's bytes are written, three to four characters.
_ORDER = (
    (0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14),
    (15, 25, 5), (6, 16, 26), (27, 7, 17), (18, 28, 8), (9, 19, 29),
)  # fmt: skip


def is_stored(text: str) -> bool:
    """Tell whether ``text`` is what the server stores rather than a password."""
    return _STORED.fullmatch(text.encode()) is not None


def stored(password: str) -> bytes:
    """Return what is stored for ``password``, each time with a new salt; a digest as it is."""
    if is_stored(password):
        return password.encode()
    salt = bytes(secrets.choice(_ALPHABET) for _ in range(_SALT))
    return b"$A$%03X$%s%s" % (ROUNDS, salt, _crypt(password.encode(), salt, ROUNDS * 1000))


def same(now: str, password: str) -> bool:
    """Tell whether ``password``, or a digest, is what ``now`` was made of; that is hexadecimal."""
    known = bytes.fromhex(now)
    found = _STORED.fullmatch(known)
    if is_stored(password) or found is None:
        return known == password.encode()
    rounds = int(found[1], 16) * 1000
    return secrets.compare_digest(found[3], _crypt(password.encode(), found[2], rounds))


def _crypt(password: bytes, salt: bytes, rounds: int) -> bytes:
    """SHA-crypt as its specification has it, step by step."""
    size = len(password)
    other = hashlib.sha256(password + salt + password).digest()
    text = password + salt + _filled(other, size)
    while size:
        text += other if size & 1 else password
        size >>= 1
    found = hashlib.sha256(text).digest()
    own = _filled(hashlib.sha256(password * len(password)).digest(), len(password))
    salted = _filled(hashlib.sha256(salt * (16 + found[0])).digest(), len(salt))
    for number in range(rounds):
        odd = number & 1
        text = own if odd else found
        text += salted if number % 3 else b""
        text += own if number % 7 else b""
        text += found if odd else own
        found = hashlib.sha256(text).digest()
    return _written(found)


def _filled(piece: bytes, size: int) -> bytes:
    return bytes(islice(cycle(piece), size))


def _written(found: bytes) -> bytes:
    groups = [(found[a] << 16 | found[b] << 8 | found[c], 4) for a, b, c in _ORDER]
    groups.append((found[31] << 8 | found[30], 3))
    return bytes(
        _ALPHABET[number >> 6 * place & 63] for number, size in groups for place in range(size)
    )
