"""Logging in by SSH as an account that belongs to a server or to the kit."""

from __future__ import annotations

from tests.e2e.hosts import Site

_SCRIPT = """
home=$(getent passwd {account} | cut -d: -f6)
group=$(id -g {account})
folder=$(mktemp -d)
ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
mkdir -p "$home"
[ ! -e "$home/.ssh" ] || mv "$home/.ssh" "$folder/former"
install -d -m 0700 -o {account} -g "$group" "$home/.ssh"
install -m 0600 -o {account} -g "$group" "$folder/key.pub" "$home/.ssh/authorized_keys"
ssh -v -N -i "$folder/key" -o BatchMode=yes -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 {account}@127.0.0.1 2>&1 &
sleep 4
kill $! 2>/dev/null
rm -rf "$home/.ssh"
[ ! -e "$folder/former" ] || mv "$folder/former" "$home/.ssh"
rm -rf "$folder"
"""


def tried(site: Site, host: str, account: str) -> str:
    """Lay a key into the home of ``account``, log in with it, and return what ``ssh`` says.

    A login shell that is none hinders nobody: a connection that opens none forwards ports.
    """
    return site.root(host, _SCRIPT.format(account=account), ok=False)


def let_in(said: str) -> bool:
    """Tell whether the log-in succeeded; AssertionError when it was not tried at all."""
    assert "Authentications that can continue" in said or "Authenticated to" in said, said
    return "Authenticated to" in said
