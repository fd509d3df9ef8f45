"""Filters about certificates."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509


def days_left(pem: str) -> int:
    """Return the whole days until the certificate in ``pem`` expires; 100000 when there is none."""
    if "BEGIN CERTIFICATE" not in pem:
        return 100_000
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return (certificate.not_valid_after_utc - datetime.now(UTC)).days


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {"dbops_days_left": days_left}
