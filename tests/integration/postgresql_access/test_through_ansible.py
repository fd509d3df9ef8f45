"""The module as Ansible runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.cluster import PORT, Cluster
from tests.integration.postgresql_access.access import FLIGHTS

ROOT = Path(__file__).parents[3]


def ansible(cluster: Cluster, parameters: dict[str, Any], *options: str) -> tuple[int, str]:
    """Run the module through Ansible; return the exit status and everything it printed."""
    arguments = {"socket_dir": str(cluster.directory), "port": PORT, **parameters}
    process = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), "localhost", "-vvv", "--diff"),
            *("-m", "postgresql_access", "-a", json.dumps(arguments), *options),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


def test_through_ansible_with_check_diff_and_no_secret_anywhere(cluster: Cluster) -> None:
    status, foretold = ansible(cluster, FLIGHTS, "--check")
    assert status == 0, foretold
    assert "CHANGED" in foretold
    assert "+role app: password: changed" in foretold
    assert cluster.rows("SELECT rolname FROM pg_roles WHERE oid > 16383") == []
    status, done = ansible(cluster, FLIGHTS)
    assert "CHANGED" in done
    status, quiet = ansible(cluster, FLIGHTS)
    assert status == 0, quiet
    assert "changed: false" in quiet.replace('"changed": false', "changed: false")
    role = {**FLIGHTS["roles"][1], "pasword": "x"}
    status, refused = ansible(cluster, {"roles": [role]})
    assert status == 2, refused
    assert "pasword" in refused
    for output in (foretold, done, quiet, refused):
        assert "canary-plain" not in output
        assert "Traceback" not in output
