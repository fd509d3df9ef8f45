"""Filters about certificates."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def certificate_serves(
    pem: str, authority: str, names: list[str], days: int, key_fingerprint: str
) -> bool:
    """Return whether a host's certificate needs no renewal.

    That is: ``authority`` signed it, it is for ``names`` (``DNS:…``, ``IP:…``) and nothing else, it
    lasts for ``days`` more at least, and its key's SHA-256 is ``key_fingerprint``.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (InvalidSignature, ValueError):
        return False
    lasts = certificate.not_valid_after_utc - datetime.now(UTC) >= timedelta(days=days)
    same_key = _fingerprint(certificate) == key_fingerprint.replace(":", "")
    return lasts and same_key and _names(certificate) == set(names)


def _fingerprint(certificate: x509.Certificate) -> str:
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {f"DNS:{name}" for name in found.get_values_for_type(x509.DNSName)} | {
        f"IP:{address}" for address in found.get_values_for_type(x509.IPAddress)
    }


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {"dbops_certificate_serves": certificate_serves}
