"""Certificates as a server's own port serves them. Reads, and trusts nothing it reads."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_SEQUENCE, _CONTEXT_0, _UTC_TIME, _GENERAL_TIME = 0x30, 0xA0, 0x17, 0x18
_COMMON_NAME = bytes.fromhex("0603550403")
_STRINGS = (0x0C, 0x13, 0x14, 0x16)


@dataclass(frozen=True)
class Certificate:
    """What a server showed, and over which TLS version. ``not_after`` is UTC."""

    not_after: datetime
    subject: str
    issuer: str
    tls_version: str


def upgraded(raw: socket.socket, latest: ssl.TLSVersion | None = None) -> Certificate:
    """Speak TLS on a connected socket and return what was served; the socket is closed.

    ``latest`` caps the version that is offered. Raises OSError when no TLS comes about.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # An expired or foreign certificate is just what this must be able to see.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if latest is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = latest
        # A hardened libssl refuses to *offer* old versions, and then nothing would be tested.
        context.set_ciphers("ALL:@SECLEVEL=0")
    with context.wrap_socket(raw) as secured:
        encoded = secured.getpeercert(binary_form=True)
        version = secured.version()
    if not encoded:
        raise OSError("the server showed no certificate")
    return parse(encoded, version or "")


def parse(encoded: bytes, tls_version: str = "") -> Certificate:
    """Read the dates and common names of a certificate in DER; OSError when it is not one."""
    try:
        _, certificate, _ = _element(encoded, 0)
        _, body, _ = _element(certificate, 0)
        fields = list(_elements(body))
        if fields[0][0] == _CONTEXT_0:
            fields = fields[1:]
        issuer, validity, subject = fields[2][1], fields[3][1], fields[4][1]
        not_after = _time(*list(_elements(validity))[1])
    except (IndexError, ValueError):
        raise OSError("the server showed something that is not a certificate") from None
    return Certificate(not_after, _common_name(subject), _common_name(issuer), tls_version)


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return the tag, the content and the end of the element that begins at ``at``."""
    tag, length, begin = data[at], data[at + 1], at + 2
    if length & 0x80:
        width = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + width], "big"), begin + width
    if begin + length > len(data):
        raise ValueError("cut short")
    return tag, data[begin : begin + length], begin + length


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        tag, content, at = _element(data, at)
        found.append((tag, content))
    return found


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280: two digits below 50 are of this century.
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif tag != _GENERAL_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _common_name(name: bytes) -> str:
    at = name.find(_COMMON_NAME)
    if at < 0:
        return ""
    tag, content, _ = _element(name, at + len(_COMMON_NAME))
    return content.decode("utf-8", "replace") if tag in _STRINGS else ""
