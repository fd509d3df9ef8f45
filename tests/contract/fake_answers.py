"""What the fake engine answers to the frames, all of it good: a test lets one answer fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dbops.audit.rules import Finding, Rule, ordered, settings
from dbops.audit.run import Auditing
from dbops.check.host import Inspection
from dbops.contract import Catalogue, Check, MigratedDatabase, Progress, Sample
from dbops.migrate.steps import Compared, Moving
from dbops.monitor.certificates import Certificate
from dbops.monitor.target import Link, Vitals, Watch
from dbops.runner import Action, Plan
from dbops.targets import Target
from tests.contract import fake_engine
from tests.contract.fake_engine import LATER, NOON


def watch(link: Link | None = None, ended: Callable[[], None] = lambda: None) -> Watch[str]:
    """Return the answers about a server's samples; ``ended`` hears that the connection is gone."""

    @contextmanager
    def connect() -> Iterator[str]:
        try:
            yield "a connection"
        finally:
            ended()

    return Watch(
        method="fake",
        kinds=("full", "log"),
        certificate=lambda address: Certificate(LATER, "db1", "an authority", "TLSv1.3"),
        connect=connect,
        vitals=lambda server: Vitals("1.2", NOON.timestamp(), 3, 12, 4.0, 1.0, 2.0),
        beat=lambda server: LATER.timestamp(),
        link=lambda server, beat: link,
        more=lambda server: iter([Sample("dbops_pages", 1)]),
        log_dir=lambda data_dir: Path("/"),
        unknown=("pages",),
        newest_log=lambda: LATER.timestamp(),
        explain=lambda error: "it is gone" if isinstance(error, KeyError) else None,
    )


def inspection(target: Target) -> Inspection[str]:
    """Return the answers about a host, all good; its newest beat and log are of just now."""

    @contextmanager
    def connect() -> Iterator[str]:
        yield "a connection"

    def log(found: Catalogue) -> Iterator[Check]:
        yield Check("archived log has no hole", True)

    return Inspection(
        connect=connect,
        version=lambda server: f"{target.version}.4",
        server=lambda server: iter([Check("role", True, "primary")]),
        beat=lambda server: datetime.now(UTC),
        program=lambda: target.version,
        reach=lambda: "1 backups",
        catalogue=lambda: fake_engine.catalogue(target),
        log=log,
        newest_log=lambda found: datetime.now(UTC),
        log_hint="look at the fake",
        more=(("kernel", lambda: [Check("pages are small", True)]),),
        explain=lambda error: "it is gone" if isinstance(error, KeyError) else None,
    )


@dataclass(frozen=True)
class Facts:
    """What the fake's controls look at."""

    settings: dict[str, str]


def auditing(ended: Callable[[], None] = lambda: None, **here: str) -> Auditing[Facts]:
    """Return two controls that pass, one of which is of settings; ``here`` are other ones."""

    @contextmanager
    def gather() -> Iterator[Facts]:
        try:
            yield Facts({"tls": "on", "level": "2"} | here)
        finally:
            ended()

    rules: tuple[Rule[Facts], ...] = ordered(
        Rule("FK-02", "Nobody is there", lambda facts: Finding("pass", "nobody")),
        Rule("FK-01", "Level and TLS are set", settings({"tls": "on", "level": ("1", "2")})),
    )
    return Auditing(
        rules=rules,
        gather=gather,
        explain=lambda error: "it is gone" if isinstance(error, EOFError) else None,
    )


@dataclass
class Side:
    """This side of a migration, and what was done to it."""

    follows: bool = True
    open: bool = False
    done: list[str] = field(default_factory=list)


def moving(target: Target, side: Side) -> Moving[Side]:
    """Return the answers to a migration's steps, all good; what is done is written to ``side``."""
    (content,) = fake_engine.fingerprint(target, lambda text: None)

    def steps(name: str) -> Plan:
        return [Action(name, lambda: side.done.append(name))]

    @contextmanager
    def here() -> Iterator[Side]:
        yield side

    def move(tell: Progress) -> float:
        side.done.append("move")
        side.open, side.follows = True, False
        return 1.25

    return Moving(
        here=here,
        databases=lambda one: [MigratedDatabase("app", one.follows, one.open, 3, 3, 0, 0)],
        prepare=lambda one: steps("prepare"),
        start=lambda one: steps("start"),
        follows=lambda one: one.follows,
        is_open=lambda one: one.open,
        compare=lambda tell: [Compared("app", content, content, 0.5)],
        require_close=lambda one: None,
        move=move,
        end_move=lambda: side.done.append("end_move"),
        follow=lambda one: steps("follow"),
        finish=lambda one: steps("finish"),
    )
