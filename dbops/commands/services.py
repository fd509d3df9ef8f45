"""``dbops heartbeat`` and ``dbops exporter``: what runs as a service until it is told to end."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType

import click

from dbops.commands import options, output
from dbops.errors import ConfigError


class _Notes(logging.Handler):
    """Sends what engines log to standard error, where the service manager keeps it."""

    def emit(self, record: logging.LogRecord) -> None:
        output.note(record.getMessage())


def _until_terminated() -> threading.Event:
    ended = threading.Event()
    logging.basicConfig(level=logging.INFO, handlers=[_Notes()], force=True)

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return ended


@click.command()
@options.cluster
def heartbeat(cluster: str | None) -> None:
    """Write the heartbeat row on the primary every few seconds until terminated.

    \b
    Example:
      dbops heartbeat --cluster flights
    """
    target = options.pick(cluster)
    run = options.ability(target, lambda engine: engine.heartbeat, "heartbeat")
    run(target, _until_terminated().is_set)


@click.command()
@click.option(
    "--listen", default="127.0.0.1:9600", show_default=True, metavar="ADDR:PORT", help="Where to."
)
@click.option(
    "--timeout",
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    help="Longest wait for a server; its last known values are given then, with dbops_up 0.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate to show.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key.")
@click.option(
    "--client-ca", type=click.Path(path_type=Path), help="Authority of the scrapers' certificates."
)
@click.option(
    "--client-name",
    "client_names",
    multiple=True,
    metavar="NAME",
    help="Common name of a certificate that may scrape; repeat it for more.",
)
def exporter(
    listen: str,
    timeout: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    client_names: tuple[str, ...],
) -> None:
    """Serve the metrics of every cluster of this host at /metrics until terminated.

    Beyond loopback it demands TLS and a client certificate with one of the names given.

    \b
    Examples:
      dbops exporter
      dbops exporter --listen 10.0.0.5:9600 --tls-cert tls/exporter.crt \\
          --tls-key tls/exporter.key --client-ca tls/ca.crt --client-name prometheus
    """
    from dbops.exporter.collecting import Fleet
    from dbops.exporter.server import Server, Tls, parse_listen

    address = parse_listen(listen)
    tls: Tls | None = None
    if tls_cert and tls_key and client_ca and client_names:
        tls = Tls(tls_cert, tls_key, client_ca, frozenset(client_names))
    elif tls_cert or tls_key or client_ca or client_names:
        raise ConfigError(
            "Give --tls-cert, --tls-key, --client-ca and --client-name together, or none of them."
        )
    ended = _until_terminated()
    server = Server(address, Fleet(options.targets_dir(), output.note), timeout, tls)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        output.note(f"Serving metrics at {listen}.")
        ended.wait()
        server.shutdown()
