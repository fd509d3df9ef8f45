"""The exporter: samples of every target on this host as Prometheus text over HTTP or mutual TLS.

What is *not* here: what is measured (each engine's ``collect``) and deadlines (:mod:`.collecting`).
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import Metric, generate_latest

from dbops.contract import Sample
from dbops.errors import ConfigError, Refused
from dbops.exporter.collecting import Fleet

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST_CONNECTIONS = 16
_IDLE_SECONDS = 10.0
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class _Families:
    """Families of one scrape, as prometheus-client collects them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return each family once."""
        return self._families


def encode(samples: Iterable[Sample]) -> bytes:
    """Return ``samples`` as Prometheus text, grouped by name; the last of two equal series wins.

    A family takes its type and help from its first sample; a counter's name ends in ``_total``.
    """
    families: dict[str, dict[tuple[tuple[str, str], ...], Sample]] = {}
    for sample in samples:
        if _NAME.fullmatch(sample.name):
            families.setdefault(sample.name, {})[tuple(sorted(sample.labels))] = sample
    return generate_latest(_Families([_metric(list(one.values())) for one in families.values()]))


def _metric(samples: Sequence[Sample]) -> Metric:
    first = samples[0]
    name = first.name.removesuffix("_total") if first.kind == "counter" else first.name
    metric = Metric(name, first.help or first.name, first.kind)
    for sample in samples:
        labels = {name: _utf8(value) for name, value in sample.labels if _LABEL.fullmatch(name)}
        metric.add_sample(sample.name, labels, sample.value)
    return metric


def _utf8(value: str) -> str:
    """Return a label's value without what UTF-8 has no bytes for, such as a file's odd name."""
    return value.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Tls:
    """The files of the exporter's own certificate and of the authority that signs scrapers'.

    ``clients`` are the common names of those who may scrape: the authority signs others' too.
    """

    certificate: Path
    key: Path
    client_ca: Path
    clients: frozenset[str]

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when a file is replaced."""
        return tuple(
            path.stat().st_mtime_ns for path in (self.certificate, self.key, self.client_ca)
        )

    def context(self) -> ssl.SSLContext:
        """Return a context that demands a client certificate; ConfigError names a bad file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise ConfigError(
                f"The TLS files {self.certificate}, {self.key} and {self.client_ca} cannot be "
                f"used: {error.strerror or error}."
            ) from None
        return context


def may_scrape(certificate: Mapping[str, Any] | None, clients: frozenset[str]) -> bool:
    """Return whether a verified certificate, as ``ssl`` gives it, has one of the names."""
    parts = (certificate or {}).get("subject", ())
    names = [value for part in parts for kind, value in part if kind == "commonName"]
    return len(names) == 1 and names[0] in clients


def parse_listen(text: str) -> tuple[str, int]:
    """Return the address and port of ``ADDR:PORT``; an IPv6 address stands in brackets."""
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if address == "localhost":
        address = "127.0.0.1"
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(
            f"--listen {text!r} is not ADDRESS:PORT, such as 127.0.0.1:9600 or [::1]:9600."
        ) from None
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(f"--listen {text!r} has no port between 0 and 65535.")
    return address, int(port)


class Server(http.server.ThreadingHTTPServer):
    """Answers ``GET /metrics``. Certificates are read anew when their files change."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, listen: tuple[str, int], fleet: Fleet, timeout_seconds: float, tls: Tls | None
    ) -> None:
        address, port = listen
        if tls is None and not ipaddress.ip_address(address).is_loopback:
            raise Refused(
                f"The exporter does not listen on {address} without --tls-cert, --tls-key, "
                "--client-ca and --client-name: everybody there could read it."
            )
        self.fleet = fleet
        self.timeout_seconds = timeout_seconds
        self._tls = tls
        self._context = tls.context() if tls else None
        self._stamp = tls.stamp() if tls else ()
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"The exporter cannot listen on {address}:{port}: {error.strerror}."
            ) from None

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its TLS handshake is done later, by its own thread."""
        connection, peer = super().get_request()
        if self._tls is None or self._context is None:
            return connection, peer
        with contextlib.suppress(OSError, ConfigError):
            if (stamp := self._tls.stamp()) != self._stamp:
                self._context, self._stamp = self._tls.context(), stamp
        wrapped = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, peer

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread of its own, or hang up when there are too many."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and give its slot back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up or fails its handshake is no event."""

    def lets_in(self, connection: socket.socket) -> bool:
        """Return whether the client at the other end may scrape."""
        if self._tls is None:
            return True
        assert isinstance(connection, ssl.SSLSocket)
        return may_scrape(connection.getpeercert(), self._tls.clients)

    def metrics(self) -> bytes:
        """Return everything known, as Prometheus text."""
        samples = [s for target in self.fleet.collect(self.timeout_seconds) for s in target.samples]
        return encode([*samples, *self.fleet.unreadable()])


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = _IDLE_SECONDS
    server_version = "dbops"
    sys_version = ""

    def do_GET(self) -> None:
        if not self.server.lets_in(self.connection):
            self._answer(403, b"This certificate is not that of a client that may scrape.\n")
            return
        if self.path.split("?")[0] != "/metrics":
            self._answer(404, b"The metrics are at /metrics.\n")
            return
        self._answer(200, self.server.metrics())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not logged."""
