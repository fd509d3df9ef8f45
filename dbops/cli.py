"""The command line's root, and the one place where an error becomes a sentence and a status."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections import UserDict
from pkgutil import resolve_name
from typing import Any

import click

from dbops import __version__
from dbops.commands import output
from dbops.errors import DbopsError

_BROKEN_PIPE = 141
_INTERRUPTED = 130


class _Commands(UserDict[str, Any]):
    """The commands by name, each as ``module:name`` until it is asked for and imported then."""

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = resolve_name(f"dbops.commands.{self.data[name]}")
        return command


COMMANDS = _Commands(
    {
        "status": "checks:status",
        "check": "checks:check",
        "audit": "checks:audit",
        "backup": "backup:backup",
        "restore": "restore:restore",
        "drill": "drill:drill",
        "fingerprint": "fingerprint:fingerprint_command",
        "migrate": "migrate:migrate",
        "heartbeat": "services:heartbeat",
        "exporter": "services:exporter",
        "fleet": "controller:fleet",
        "play": "controller:play",
        "engines": "checks:engines_command",
        "completion": "docs:completion",
        "docs": "docs:docs",
    }
)


class _Root(click.Group):
    """A group that lists its commands in the order they stand here and explains exit statuses."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from dbops.commands import docs

        with formatter.section("Exit statuses"):
            formatter.write_dl([(str(status), meaning) for status, meaning in docs.exit_statuses()])
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(
                "DBOPS_TARGETS_DIR names another directory of target files, "
                "DBOPS_DEBUG=1 shows tracebacks."
            )


@click.group(cls=_Root, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dbops")
def cli() -> None:
    """Operate databases, and prove their backups by restoring them.

    \b
    Start here:
      dbops status                # what is on this host and how it stands
      dbops check                 # what is wrong and what to do about it
      dbops backup list           # what can be restored, and to when
      dbops drill run             # prove it, on the drill host
      dbops play site -i INV      # bring a whole fleet to its declared state
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; nothing but it is ever raised."""
    try:
        status = _invoke(arguments)
        sys.stdout.flush()
    except DbopsError as error:
        return _fail(str(error), error.exit_status, error)
    except click.ClickException as error:
        return _fail(_usage(error), 2, error)
    except (KeyboardInterrupt, click.Abort) as error:
        return _fail("Interrupted.", _INTERRUPTED, error)
    except BrokenPipeError:
        # Whoever read our output has gone: say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        sentence = (
            f"Unexpected {type(error).__name__}: {error}; "
            "run again with DBOPS_DEBUG=1 for the traceback."
        )
        return _fail(" ".join(sentence.split()), 1, error)
    return status


def _invoke(arguments: list[str] | None) -> int:
    result: Any = cli.main(args=arguments, prog_name="dbops", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _usage(error: click.ClickException) -> str:
    sentence = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"see '{context.command_path} --help'" if context else "see 'dbops --help'"
    return f"{sentence}: {hint}."


def _fail(sentence: str, status: int, error: BaseException) -> int:
    if os.environ.get("DBOPS_DEBUG") == "1":
        output.note("".join(traceback.format_exception(error)))
    output.note(f"dbops: {sentence}")
    return status
