"""What a cluster leaves behind when its parts have ended, and its removal."""

import os
import signal
import subprocess
from pathlib import Path

from tests.cluster.place import HOME, SOCKET
from tests.cluster.tools import ctr, processes, until

CGROUPS = Path("/sys/fs/cgroup")
OURS = ("kubepods", "k8s.io")  # as the kubelet and containerd name theirs


def end_containers() -> None:
    """Kill and remove every container, so that containerd keeps nothing but images."""
    for task in ctr("tasks", "list", "--quiet").split():
        subprocess.run(
            ["ctr", f"--address={SOCKET}", "--namespace=k8s.io", "tasks", "delete", "--force", task],
            capture_output=True,
            check=False,  # one that has ended meanwhile is gone all the same
        )
    for container in ctr("containers", "list", "--quiet").split():
        ctr("containers", "delete", container)


def clear() -> None:
    """End the containers' supervisors, unmount what they had mounted, and remove their control groups."""
    for pid in _supervisors():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not _supervisors(), 20, "the end of the containers' supervisors")
    for mounted in _mounted():
        subprocess.run(["umount", "--lazy", mounted], check=True)
    for controller in (CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())):
        for name in OURS:
            _remove_cgroup(controller / name)


def _supervisors() -> list[int]:
    """The shims of containerd that serve this cluster."""
    return [
        pid
        for pid, command in processes()
        if command[0].endswith(b"containerd-shim-runc-v2") and os.fsencode(SOCKET) in command
    ]


def _mounted() -> list[str]:
    """Mount points under the cluster's folder, deepest first."""
    rows = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return sorted((row[1] for row in rows if row[1].startswith(f"{HOME}/")), reverse=True)


def _remove_cgroup(group: Path) -> None:
    """Remove a control group and those below it; none of them has a process any more."""
    if group.is_dir():
        for below in [path for path in group.iterdir() if path.is_dir()]:
            _remove_cgroup(below)
        group.rmdir()
