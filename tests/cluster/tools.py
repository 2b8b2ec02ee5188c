"""kubectl and ctr, as the cluster's tests call them."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.cluster.binaries import path
from tests.cluster.place import INSIDE, KUBECONFIG, SOCKET


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the cluster's administrator and return what it says.

    Raises:
        RuntimeError: it failed, with what it says of that.
    """
    return _run([*INSIDE, str(path("kubectl")), f"--kubeconfig={KUBECONFIG}", *arguments], stdin)


def ctr(*arguments: str) -> str:
    """Run containerd's client on the images and containers of the cluster.

    Raises:
        RuntimeError: it failed, with what it says of that.
    """
    return _run(["ctr", f"--address={SOCKET}", "--namespace=k8s.io", *arguments], None)


def apply(manifest: str) -> None:
    """Bring objects to what a manifest says; on the server's side, since some are too large for an annotation."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)


def get(*arguments: str) -> dict[str, Any]:
    """What `kubectl get` finds, as the API server has it."""
    found: dict[str, Any] = json.loads(kubectl("get", *arguments, "--output=json"))
    return found


def processes() -> Iterator[tuple[int, list[bytes]]]:
    """Yield every process of this machine with the words of its command."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(file.parent.name), file.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue


def until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask until it is so.

    Raises:
        TimeoutError: it was not in this time.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {seconds:.0f} s")
        time.sleep(0.1)


def _run(command: list[str], stdin: str | None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
