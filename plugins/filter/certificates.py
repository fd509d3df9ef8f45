"""Filters about certificates: what the controller wants, and what it signs of what hosts ask for.

A host is believed nothing but its public key. A request that asks for anything else than the
controller wants is refused: somebody on that host altered it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# What each purpose's certificate is used as, and nothing else.
PURPOSES = {
    "host": "serverAuth",
    "gate": "serverAuth",
    "exporter": "serverAuth",
    "client": "clientAuth",
    "agent": "clientAuth",
}
FOLDER = "/etc/dbops/tls"
_USAGES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
}
_LONGEST = 10_000  # characters of a request


def wanted(purposes: Mapping[str, str], host: str, address: str) -> list[dict[str, Any]]:
    """Return the keys of ``host`` as host_keys takes them; ``purposes`` names who reads each.

    Only a server's certificate has names: a client is known by its subject. ``address`` is where
    the inventory says that the host is, an IP address or a name.
    """
    names = [f"DNS:{host}", _named(address)] if address != host else [_named(host)]
    return [
        {
            "name": purpose,
            "group": group,
            "subject": host,
            "usage": PURPOSES[purpose],
            "names": names if PURPOSES[purpose] == "serverAuth" else [],
        }
        for purpose, group in purposes.items()
    ]


def _named(address: str) -> str:
    try:
        return f"IP:{ip_address(address)}"
    except ValueError:
        return f"DNS:{address}"


def exporter(listen: str, group: str) -> dict[str, str]:
    """Return the exporter's purpose and who reads its key; none when it stays on loopback."""
    return {} if listen.startswith(("127.", "localhost", "[::1]")) else {"exporter": group}


def clients(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the keys of clients outside the fleet, as host_keys takes them."""
    return [{"name": name, "subject": name, "usage": "clientAuth", "names": []} for name in names]


def files(certificates: Mapping[str, str], authority: str) -> list[dict[str, str]]:
    """Return the certificates and that of the authority as file_set takes them."""
    found = [
        {"path": f"{FOLDER}/{name}.crt", "content": certificates[name]} for name in certificates
    ]
    return [*found, {"path": f"{FOLDER}/ca.crt", "content": authority}]


def copies(
    purposes: Mapping[str, str], certificate: str, key: str, authority: str
) -> list[dict[str, Any]]:
    """Return the files of a certificate of the user's own: a copy for each purpose."""
    keys = [
        {"path": f"{FOLDER}/{name}.key", "content": key, "group": purposes[name], "mode": "0640"}
        | {"secret": True}
        for name in purposes
    ]
    return [*keys, *files(dict.fromkeys(purposes, certificate), authority)]


def gone(purposes: Mapping[str, str]) -> list[str]:
    """Return the files of purposes that a host does not have, or has no more."""
    return [
        f"{FOLDER}/{name}.{kind}"
        for name in PURPOSES
        for kind in ("crt", "key")
        if name not in purposes
    ]


def refused(answers: Any, keys: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each key whose request is not what was wanted."""
    found = []
    for key in keys:
        text = _asked(answers, key["name"])
        if text and (problem := _problem(text, key)):
            found.append(_sentence(key, problem))
    return found


def signed(
    answers: Any, keys: list[dict[str, Any]], folder: str, days: int, renew_days: int
) -> dict[str, str]:
    """Return the certificate of each key: the one in force while it serves, else a new one.

    ``folder`` has the authority's ``ca.crt`` and ``ca.key``. A key without a request, as a dry run
    returns, keeps what it has. Raises AnsibleFilterError for a request that is refused.
    """
    found: dict[str, str] = {}
    authority = x509.load_pem_x509_certificate((Path(folder) / "ca.crt").read_bytes())
    for key in keys:
        text = _asked(answers, key["name"])
        now = _asked(answers, key["name"], "certificate")
        if text and (problem := _problem(text, key)):
            raise AnsibleFilterError(_sentence(key, problem))
        if not text:
            found |= {key["name"]: now} if now else {}
            continue
        public = x509.load_pem_x509_csr(text.encode()).public_key()
        if serves(now, authority, key, public, renew_days):
            found[key["name"]] = now
        else:
            found[key["name"]] = _sign(key, public, authority, Path(folder) / "ca.key", days)
    return found


def _sentence(key: Mapping[str, Any], problem: str) -> str:
    return f"{key['subject']} was to ask for its certificate {key['name']}.crt, and {problem}."


def _asked(answers: Any, name: str, part: str = "request") -> str:
    answer = answers.get(name) if isinstance(answers, Mapping) else None
    text = answer.get(part) if isinstance(answer, Mapping) else None
    return text if isinstance(text, str) else ""


def _problem(text: str, key: Mapping[str, Any]) -> str:
    """Return what a request asks for that it must not, empty when it is right."""
    try:
        if len(text) > _LONGEST:
            raise ValueError(text[:10])
        asked = x509.load_pem_x509_csr(text.encode())
        right = asked.is_signature_valid
        extensions = list(asked.extensions)
        public = asked.public_key()
    except Exception:  # whatever the library makes of what somebody else wrote
        return "the request cannot be read"
    if not right:
        return "the request is not signed with its own key"
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        return "its key is not on the curve P-256"
    if _about(asked.subject, extensions) != _expected(key):
        return f"asks for {_told(_about(asked.subject, extensions))}"
    return ""


def _expected(key: Mapping[str, Any]) -> dict[str, list[str]]:
    names = sorted(key["names"])
    return {
        "subject": [f"CN={key['subject']}"],
        "usage": [_USAGES[key["usage"]].dotted_string],
    } | ({"names": names} if names else {})


def _about(subject: x509.Name, extensions: Iterable[Any]) -> dict[str, list[str]]:
    """Return everything that is claimed, by its kind."""
    found = {"subject": [part.rfc4514_string() for part in subject.rdns]}
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            found["names"] = sorted(_name(one) for one in extension.value)
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            found["usage"] = [one.dotted_string for one in extension.value]
        else:
            found[extension.oid.dotted_string] = [repr(extension.value)[:80]]
    return found


def _name(one: x509.GeneralName) -> str:
    kinds = {x509.DNSName: "DNS", x509.IPAddress: "IP"}
    return f"{kinds.get(type(one), type(one).__name__)}:{one.value}"


def _told(claims: Mapping[str, list[str]]) -> str:
    """Return claims in words, as short as a sentence allows."""
    words = {usage.dotted_string: name for name, usage in _USAGES.items()}
    words[ExtendedKeyUsageOID.CODE_SIGNING.dotted_string] = "codeSigning"
    parts = [
        f"{kind} {', '.join(words.get(one, one) for one in held) or '(none)'}"
        for kind, held in claims.items()
    ]
    return ascii("; ".join(parts))[1:-1][:400]


def serves(
    pem: str,
    authority: x509.Certificate,
    key: Mapping[str, Any],
    public: Any,
    days: int,
) -> bool:
    """Return whether a certificate needs no renewal.

    That is: ``authority`` signed it for the key ``public`` and for what ``key`` wants and nothing
    else, and it lasts for ``days`` more at least.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(authority)
        extensions = [one for one in certificate.extensions if not _ours(one)]
        same_key = _bytes(certificate.public_key()) == _bytes(public)
    except (InvalidSignature, ValueError, TypeError):
        return False
    lasts = certificate.not_valid_after_utc - datetime.now(UTC) >= timedelta(days=days)
    return lasts and same_key and _about(certificate.subject, extensions) == _expected(key)


_OURS = (x509.KeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)


def _ours(extension: Any) -> bool:
    """Return whether an extension is one that every certificate of a leaf may have."""
    value = extension.value
    return isinstance(value, _OURS) or (isinstance(value, x509.BasicConstraints) and not value.ca)


def _bytes(public: Any) -> bytes:
    return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _sign(
    key: Mapping[str, Any], public: Any, authority: x509.Certificate, ca_key: Path, days: int
) -> str:
    """Return a certificate for ``public`` in which all else is the controller's."""
    now = datetime.now(UTC)
    signer: Any = load_pem_private_key(ca_key.read_bytes(), password=None)
    issuer: Any = authority.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, key["subject"])]))
        .issuer_name(authority.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNATURE_ONLY, critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[key["usage"]]]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )
    if key["names"]:
        names = x509.SubjectAlternativeName([_general(text) for text in key["names"]])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


_SIGNATURE_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _general(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    return x509.IPAddress(ip_address(value)) if kind == "IP" else x509.DNSName(value)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {
            "dbops_certificates_wanted": wanted,
            "dbops_certificates_clients": clients,
            "dbops_certificates_copies": copies,
            "dbops_certificates_exporter": exporter,
            "dbops_certificates_files": files,
            "dbops_certificates_gone": gone,
            "dbops_certificates_refused": refused,
            "dbops_certificates_signed": signed,
        }
