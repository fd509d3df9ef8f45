"""Collect samples from targets in bounded time, whatever their servers do.

Each target has at most one collection under way: everybody who asks meanwhile shares its answer,
and a server that hangs costs one thread, not one for each question. Values that cannot be had are
repeated as last known, with ``dbops_up`` 0, so that no series vanishes. What is *not* here: HTTP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dbops import engines, targets
from dbops.contract import Sample
from dbops.errors import DbopsError
from dbops.runner import mask
from dbops.targets import Target

Key = tuple[str, tuple[tuple[str, str], ...]]
Report = Callable[[str], None]


@dataclass
class _Attempt:
    """One collection under way, filled in by its thread."""

    started: float
    samples: list[Sample] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    failure: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Collected:
    """What one target gave; ``failure`` says why not ``fresh``, when some are as last known."""

    target: Target
    samples: tuple[Sample, ...]
    fresh: bool
    failure: str
    seconds: float


class Collector:
    """Collects from one target; safe to call from many threads."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._guard = threading.Lock()
        self._attempt: _Attempt | None = None
        self._known: dict[Key, Sample] = {}
        self._last_success = 0.0
        self._timeouts = 0

    def collect(self, timeout_seconds: float) -> Collected:
        """Return the target's samples after at most ``timeout_seconds``; never raises."""
        with self._guard:
            attempt = self._attempt
            if attempt is None or attempt.done.is_set():
                attempt = self._attempt = _Attempt(time.monotonic())
                threading.Thread(target=self._work, args=(attempt,), daemon=True).start()
        remaining = attempt.started + timeout_seconds - time.monotonic()
        finished = attempt.done.wait(max(0.0, remaining))
        return self._result(attempt, finished)

    def _work(self, attempt: _Attempt) -> None:
        try:
            collect = engines.get(self.target.engine).collect
            if collect is not None:
                for sample in collect(self.target):
                    attempt.samples.append(sample)
        except DbopsError as error:
            attempt.failure = mask(str(error))
        except Exception as error:  # a scrape must be answered whatever an engine does
            attempt.failure = mask(f"{type(error).__name__}: {error}")
        attempt.seconds = time.monotonic() - attempt.started
        attempt.done.set()

    def _result(self, attempt: _Attempt, finished: bool) -> Collected:
        failure = attempt.failure if finished else "it gave no answer in time"
        seconds = attempt.seconds if finished else time.monotonic() - attempt.started
        with self._guard:
            fresh = {_key(sample): sample for sample in list(attempt.samples)}
            self._known.update(fresh)
            if not failure:
                # Only a whole answer may end a series: a dropped table's, say.
                self._known = dict(fresh)
                self._last_success = time.time()
            self._timeouts += not finished
            samples = [
                self._label(_doubted(sample) if key not in fresh else sample)
                for key, sample in self._known.items()
            ]
            samples = _with_up(samples, self._labels(), failure)
            samples += self._about(seconds, failure)
        return Collected(self.target, tuple(samples), not failure, failure, seconds)

    def _labels(self) -> tuple[tuple[str, str], ...]:
        target = self.target
        return (
            ("engine", target.engine),
            ("cluster", target.cluster),
            ("instance_name", target.member),
        )

    def _label(self, sample: Sample) -> Sample:
        own = dict(sample.labels)
        return replace(sample, labels=tuple({**dict(self._labels()), **own}.items()))

    def _about(self, seconds: float, failure: str) -> list[Sample]:
        labels = (*self._labels(), ("collector", "target"))
        return [
            Sample(
                "dbops_exporter_collector_success",
                float(not failure),
                labels,
                "Whether the collector read everything it should.",
            ),
            Sample(
                "dbops_exporter_collector_duration_seconds",
                seconds,
                labels,
                "How long the collector took, or has been taking.",
            ),
            Sample(
                "dbops_exporter_collector_timeout_total",
                float(self._timeouts),
                labels,
                "Answers that were given without waiting for the collector any longer.",
                "counter",
            ),
            Sample(
                "dbops_exporter_collector_last_success_timestamp_seconds",
                self._last_success,
                labels,
                "When the values were last known whole; 0 if never since the exporter's start.",
            ),
        ]


def _key(sample: Sample) -> Key:
    return sample.name, tuple(sorted(sample.labels))


def _doubted(sample: Sample) -> Sample:
    """Return a sample as last known; one that says whether another is known says no."""
    return replace(sample, value=0.0) if sample.name.endswith("_known") else sample


def _with_up(
    samples: Sequence[Sample], labels: tuple[tuple[str, str], ...], failure: str
) -> list[Sample]:
    found = [sample for sample in samples if sample.name == "dbops_up"]
    if not found:
        found = [Sample("dbops_up", 1.0, labels, "Whether the server answers.")]
    if failure:
        found = [replace(sample, value=0.0) for sample in found]
    return [*found, *(sample for sample in samples if sample.name != "dbops_up")]


class Fleet:
    """The collectors of every target in a directory, which is read anew at each question."""

    def __init__(self, directory: Path, report: Report = lambda sentence: None) -> None:
        self.directory = directory
        self._report = report
        self._guard = threading.Lock()
        self._collectors: dict[str, Collector] = {}
        self._said: dict[str, str] = {}

    def collect(self, timeout_seconds: float) -> list[Collected]:
        """Return what every target gave, after at most ``timeout_seconds`` for all of them."""
        with self._guard:
            collectors = self._refresh()
        results: list[Collected | None] = [None] * len(collectors)

        def ask(number: int, collector: Collector) -> None:
            results[number] = collector.collect(timeout_seconds)

        threads = [
            threading.Thread(target=ask, args=pair, daemon=True) for pair in enumerate(collectors)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        collected = [result for result in results if result is not None]
        for result in collected:
            self._say(result.target.cluster, result.failure)
        return collected

    def _refresh(self) -> list[Collector]:
        readable: dict[str, Collector] = {}
        try:
            names = targets.names(self.directory)
        except DbopsError as error:
            self._say("targets", str(error))
            return list(self._collectors.values())
        for gone in self._collectors.keys() - names:
            self._said.pop(f"{gone}.json", None)
        for name in names:
            known = self._collectors.get(name)
            try:
                target = targets.load(name, self.directory)
            except DbopsError as error:
                self._say(f"{name}.json", str(error))
                if known is not None:
                    readable[name] = known
                continue
            self._say(f"{name}.json", "")
            same = known is not None and known.target == target
            readable[name] = known if known is not None and same else Collector(target)
        self._collectors = readable
        return list(readable.values())

    def _say(self, subject: str, sentence: str) -> None:
        """Report a change of state once, not at each scrape."""
        changed = self._said.get(subject, "") != sentence
        self._said[subject] = sentence
        if changed:
            self._report(f"{subject}: {sentence or 'well again'}")

    def unreadable(self) -> Iterable[Sample]:
        """Yield one sample for each target file, 1 when it cannot be used."""
        for subject, sentence in sorted(self._said.items()):
            if subject.endswith(".json"):
                yield Sample(
                    "dbops_exporter_target_file_unusable",
                    float(bool(sentence)),
                    (("cluster", subject.removesuffix(".json")),),
                    "Whether the target file of a cluster cannot be used.",
                )
