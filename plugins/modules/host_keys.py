#!/usr/bin/python
"""Make a host's private keys, one for each purpose, and ask for their certificates."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_keys
short_description: Make private keys that never leave the host, and requests for their certificates
description:
  - Makes each key that is not there, on the curve P-256, and gives it its owner, group and mode.
  - Returns a request for each key, which proves that the host has it, and the certificate in force.
  - A key that is there is never replaced, unless O(reissue) says so. No private key is returned.
options:
  folder:
    description: Where C(NAME.key) and C(NAME.crt) are. It belongs to root, as its parents do.
    type: path
    required: true
  keys:
    description: The keys.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the files., type: str, required: true}
      group:
        description: The only group that reads the key; without it only its owner does.
        type: str
      subject: {description: Common name to ask for., type: str, required: true}
      names:
        description: Names to ask for, C(DNS:NAME) or C(IP:ADDRESS).
        type: list
        elements: str
        default: []
      usage:
        description: Extended key usage to ask for.
        type: str
        choices: [serverAuth, clientAuth]
        required: true
  reissue:
    description: Replace keys that are there.
    type: bool
    default: false
requirements:
  - python3-cryptography
attributes:
  check_mode:
    support: full
    description: Tells which keys would be made; there is no request for those.
author:
  - dbops
"""

EXAMPLES = r"""
- name: Make the host's keys
  host_keys:
    folder: /etc/dbops/tls
    keys:
      - {name: host, group: postgres, subject: pg1, names: ["DNS:pg1"], usage: serverAuth}
"""

RETURN = r"""
answers:
  description: C(request) and C(certificate), as PEM, by the keys' names; empty for what is absent.
  type: dict
  returned: success
paths:
  description: The keys that were or would be made or changed.
  type: list
  elements: str
  returned: success
"""

import grp
import ipaddress
import os
import stat
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""

TEXT: dict[str, Any] = {"type": "str", "required": True}
KEY: dict[str, Any] = {
    "name": TEXT,
    "group": {"type": "str"},
    "subject": TEXT,
    "names": {"type": "list", "elements": "str", "default": []},
    "usage": {**TEXT, "choices": ["serverAuth", "clientAuth"]},
}
ARGUMENTS: dict[str, Any] = {
    "folder": {"type": "path", "required": True},
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": KEY,
        "no_log": False,
    },
    "reissue": {"type": "bool", "default": False},
}


class Change:
    """What the call has done so far, or would do in check mode."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode
        self.paths: list[str] = []
        self.diff: list[dict[str, str]] = []

    def note(self, path: str, before: str, after: str) -> None:
        """Remember that ``path`` changes; what is in it is never shown."""
        self.paths.append(path)
        header = {"before_header": path, "after_header": path}
        self.diff.append({**header, "before": f"{before}\n", "after": f"{after}\n"})


def read(path: str) -> bytes:
    """Return what is in a file, empty when there is none; OSError when it is a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    with os.fdopen(handle, "rb") as stream:
        return stream.read()


def loaded(path: str, text: bytes) -> Any:
    """Return the private key in ``text``; ValueError when it is none of this module's."""
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError(
            f"{path} holds no private key on the curve P-256: remove it, or have it made anew with"
            " playbooks/rotate.yml"
        )
    return key


def owner(entry: dict[str, Any], check_mode: bool) -> tuple[int, int, int]:
    """Return user, group and mode of a key; the process's own when no group is declared."""
    if entry["group"] is None:
        return os.geteuid(), os.getegid(), 0o600
    try:
        return 0, grp.getgrnam(entry["group"]).gr_gid, 0o640
    except KeyError:
        if check_mode:  # an earlier, unexecuted task would make it
            return 0, -1, 0o640
        raise ValueError(
            f"there is no group {entry['group']} to read {entry['name']}.key"
        ) from None


def made(path: str, wanted: tuple[int, int, int]) -> Any:
    """Write a new key at ``path``, never open to others, and return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".dbops-")
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchown(stream.fileno(), wanted[0], wanted[1])
            os.fchmod(stream.fileno(), wanted[2])
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return key


def close(path: str, wanted: tuple[int, int, int], change: Change) -> None:
    """Give a key that is there the owner, group and mode that are declared."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        now = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        if now == wanted:
            return
        change.note(path, *(f"{uid}:{gid} {mode:04o}" for uid, gid, mode in (now, wanted)))
        if not change.check_mode:
            os.fchown(handle, wanted[0], wanted[1])
            os.fchmod(handle, wanted[2])
    finally:
        os.close(handle)


def key_of(entry: dict[str, Any], path: str, reissue: bool, change: Change) -> Any:
    """Return the key of one purpose, made when it is missing; None when check mode has none."""
    wanted = owner(entry, change.check_mode)
    text = read(path)
    if text and not reissue:
        key = loaded(path, text)
        close(path, wanted, change)
        return key
    change.note(path, "another key" if text else "absent", "a new key")
    return None if change.check_mode else made(path, wanted)


def request(entry: dict[str, Any], key: Any) -> str:
    """Return a request for the certificate of ``key``, as PEM."""
    usages = {
        "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
        "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, entry["subject"])])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject)
    usage = x509.ExtendedKeyUsage([usages[entry["usage"]]])
    asked = asked.add_extension(usage, critical=False)
    if entry["names"]:
        names = x509.SubjectAlternativeName([name(text) for text in entry["names"]])
        asked = asked.add_extension(names, critical=False)
    signed = asked.sign(key, hashes.SHA256())
    return str(signed.public_bytes(serialization.Encoding.PEM).decode())


def name(text: str) -> Any:
    """Return a name that stands behind its kind, as a certificate holds it."""
    kind, _, value = text.partition(":")
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    return x509.DNSName(value)


def run(parameters: dict[str, Any], change: Change) -> dict[str, dict[str, str]]:
    """Make the keys; return request and certificate of each. Raises OSError and ValueError."""
    answers = {}
    for entry in parameters["keys"]:
        path = os.path.join(parameters["folder"], entry["name"])
        key = key_of(entry, f"{path}.key", parameters["reissue"], change)
        answers[entry["name"]] = {
            "request": request(entry, key) if key else "",
            "certificate": read(f"{path}.crt").decode(errors="replace"),
        }
    return answers


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=f"{missing_required_lib('cryptography')} ({MISSING})")
    change = Change(module.check_mode)
    try:
        answers = run(module.params, change)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"host_keys: {error}", paths=change.paths)
    module.exit_json(
        changed=bool(change.paths), paths=change.paths, answers=answers, diff=change.diff
    )


if __name__ == "__main__":
    main()
