"""The sandbox of the kit's systemd units: all is closed, and what one needs is opened by name."""

from __future__ import annotations

_CLOSED = {
    "AmbientCapabilities": "",
    "CapabilityBoundingSet": "",
    "KeyringMode": "private",
    "LimitCORE": "0",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service ~@privileged ~@resources",
    "SystemCallErrorNumber": "EPERM",
    "NoExecPaths": "/",
    "ExecPaths": "/usr /lib -/lib64 -/opt/dbops",
}


def sandbox(writable: list[str], **opened: object) -> str:
    """Return the lines of a unit's ``[Service]`` section that close it.

    ``writable`` are the only folders that it may write to. ``opened`` are directives of
    systemd.exec(5) by name, in place of the closed value or beside it, and None leaves one out.
    Raises ValueError for a folder that is not absolute: systemd would take no notice of it.
    """
    for path in writable:
        if not path.lstrip("-+").startswith("/"):
            raise ValueError(f"{path!r} is no absolute path, so no unit can be let write to it")
    lines = []
    for name, value in {**_CLOSED, **opened, "ReadWritePaths": " ".join(writable) or None}.items():
        lines += [f"{name}={part}" for part in _parts(name, value)]
    return "\n".join(lines)


def _parts(name: str, text: object) -> list[str]:
    """Return the values of one directive: each group of system calls, whose order counts."""
    if text is None:
        return []
    return str(text).split() if name == "SystemCallFilter" else [str(text)]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {"dbops_sandbox": sandbox}
