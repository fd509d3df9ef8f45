"""Password digests as MariaDB's plugins store them, so that the server never sees a plain one.

``ed25519`` stores a public key whose secret is made of the password; without salt, so equal
passwords have equal digests. ``mysql_native_password`` stores SHA-1 of SHA-1.
"""

from __future__ import annotations

import base64
import hashlib
import re

PLUGINS = ("ed25519", "mysql_native_password")
LEAST = 12
_P = 2**255 - 19
_D = -121665 * pow(121666, _P - 2, _P) % _P
_STORED = {
    "ed25519": re.compile(r"[A-Za-z0-9+/]{43}"),
    "mysql_native_password": re.compile(r"\*[0-9A-F]{40}"),
}

Point = tuple[int, int, int, int]


def is_digest(plugin: str, text: str) -> bool:
    """Tell whether ``text`` is what ``plugin`` stores rather than a password."""
    return _STORED[plugin].fullmatch(text) is not None


def digest(plugin: str, password: str) -> str:
    """Return what ``plugin`` stores for ``password``; a digest is returned as it is."""
    if is_digest(plugin, password):
        return password
    return _ed25519(password) if plugin == "ed25519" else _native(password)


def weakness(password: str, name: str) -> str | None:
    """Return what is wrong with a password, None when nothing is."""
    if len(password) < LEAST:
        return f"it has fewer than {LEAST} characters"
    if name.lower() in password.lower() and len(name) > 3:
        return "it holds the name of the account"
    return None


def _native(password: str) -> str:
    once = hashlib.sha1(password.encode()).digest()  # the plugin's own algorithm
    return "*" + hashlib.sha1(once).hexdigest().upper()


def _ed25519(password: str) -> str:
    hashed = hashlib.sha512(password.encode()).digest()
    scalar = int.from_bytes(hashed[:32], "little") & ((1 << 254) - 8) | 1 << 254
    x, y = _multiply(scalar)
    packed = (y | (x & 1) << 255).to_bytes(32, "little")
    return base64.b64encode(packed).decode().rstrip("=")


def _multiply(scalar: int) -> tuple[int, int]:
    """Return ``scalar`` times the curve's base point (RFC 8032, section 5.1)."""
    y = 4 * pow(5, _P - 2, _P) % _P
    x = _even_x(y)
    total: Point = (0, 1, 1, 0)
    base: Point = (x, y, 1, x * y % _P)
    while scalar:
        if scalar & 1:
            total = _add(total, base)
        base = _add(base, base)
        scalar >>= 1
    inverse = pow(total[2], _P - 2, _P)
    return total[0] * inverse % _P, total[1] * inverse % _P


def _even_x(y: int) -> int:
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P)
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    return _P - x if x & 1 else x


def _add(p: Point, q: Point) -> Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P
