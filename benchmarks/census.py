"""What a server process holds: memory, descriptors, threads, children, files in its folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Census:
    """Counted at one moment.

    Args:
        memory: resident, bytes.
        descriptors: open files and sockets.
        threads: of the process.
        children: processes that it started and that have not ended.
        files: bytes in the scratch folders for which the process is the owner.
        cpu: seconds of processor time that it has used.
    """

    memory: int
    descriptors: int
    threads: int
    children: int
    files: int
    cpu: float

    def __str__(self) -> str:
        return (
            f"{self.memory / 1e6:.0f} MB, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.children} children, {self.files / 1e6:.1f} MB of files"
        )


def census(pid: int, temporary: Path = Path("/tmp")) -> Census:
    """Count what a process holds."""
    process = Path("/proc") / str(pid)
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = [
        other
        for other in Path("/proc").glob("[0-9]*")
        if _status(other).get("PPid") == str(pid) and _status(other).get("State", "Z")[0] != "Z"
    ]
    folders = [
        owner.parent
        for owner in temporary.glob("maml-sketchpad-*/owner")
        if owner.read_text().strip() == str(pid)
    ]
    files = sum(
        path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()
    )
    return Census(
        resident,
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        len(children),
        files,
        _cpu(process),
    )


def listening(port: int) -> int:
    """The number of the process that listens on a port of this machine.

    Raises:
        ProcessLookupError: if there is none that one may look at.
    """
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) in sockets:
                return int(link.parts[2])
        except OSError:
            continue
    raise ProcessLookupError(f"no process of this machine listens on port {port}")


def _cpu(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(process: Path) -> dict[str, str]:
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
