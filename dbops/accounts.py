"""Doing something as another account of this host, while dbops itself is root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from dbops.errors import ConfigError


@contextmanager
def acting_as(account: str) -> Iterator[None]:
    """Let the block run as ``account`` with its groups when dbops is root, and as it is otherwise.

    The kernel then looks at files and processes as it does for that account, and a server at the
    other end of a socket sees that account. Raises ConfigError for an account that is not there.
    """
    if os.geteuid() != 0:
        yield
        return
    try:
        wanted = pwd.getpwnam(account)
    except KeyError:
        raise ConfigError(f"The account {account!r} does not exist: provision the host.") from None
    groups, group = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(account, wanted.pw_gid))
    os.setegid(wanted.pw_gid)
    os.seteuid(wanted.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
