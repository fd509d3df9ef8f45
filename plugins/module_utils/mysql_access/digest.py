"""Password digests as MariaDB's plugins store them, so that the server never sees a plain one.

``ed25519`` stores a public key whose secret is made of the password; without salt, so equal
passwords have equal digests. ``mysql_native_password`` stores SHA-1 of SHA-1.
"""

from __future__ import annotations

import base64
import hashlib
import re

from nacl.bindings import crypto_scalarmult_ed25519_base_noclamp

PLUGINS = ("ed25519", "mysql_native_password")
LEAST = 12
_STORED = {
    "ed25519": re.compile(r"[A-Za-z0-9+/]{43}"),
    "mysql_native_password": re.compile(r"\*[0-9A-F]{40}"),
}


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
    clamped = bytes([hashed[0] & 248, *hashed[1:31], hashed[31] & 63 | 64])
    public = crypto_scalarmult_ed25519_base_noclamp(clamped)  # RFC 8032, section 5.1.5
    return base64.b64encode(public).decode().rstrip("=")
