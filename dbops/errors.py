"""Errors, named for who must act; each carries the exit status of the command that meets it.

One ``except DbopsError`` exists, in :mod:`dbops.cli`. A message is one sentence: what is wrong,
where, and what to do about it.
"""

from __future__ import annotations


class DbopsError(Exception):
    """Something a user can act upon. ``exit_status`` is what the command ends with."""

    exit_status = 1


class ConfigError(DbopsError):
    """The command line, a target file or a secret file is wrong: mend it and run again."""

    exit_status = 2


class UnsupportedVerb(DbopsError):
    """The engine cannot do this; the support table in the README says what it can."""

    exit_status = 3


class Unreachable(DbopsError):
    """A server or host does not answer: look at the network, the service, the credentials."""

    exit_status = 4


class CommandFailed(DbopsError):
    """A tool that dbops called has failed; its own words are in the message."""

    exit_status = 5


class VerificationFailed(DbopsError):
    """A backup, a restore or a drill could not be proven. Treat the backup as unusable."""

    exit_status = 6


class Refused(DbopsError):
    """The request is understood and unsafe: nothing was changed."""

    exit_status = 7


class Busy(DbopsError):
    """Another run holds the lock for this cluster: wait for it, then run again."""

    exit_status = 8
