"""A real MinIO server of a test's own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3

from kino.bucket import Bucket
from tests.cluster import binaries
from tests.cluster.place import KEYS


@dataclass
class Minio:
    """A server over a folder, which can be paused, killed and started again at the same address."""

    program: Path
    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, bucket: str, prefix: str = "", **settings: object) -> str:
        """The URL of a place in a bucket of this server."""
        query = "&".join(f"{name}={value}" for name, value in {"endpoint": self.endpoint, **settings}.items())
        return f"s3://{bucket}/{prefix}?{query}"

    def start(self) -> None:
        """Start it, and return when it serves."""
        keys = {
            "MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"],
            "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"],
            "MINIO_BROWSER": "off",
        }
        command: list[str | Path] = [
            self.program,
            "server",
            "--quiet",
            "--address",
            f"127.0.0.1:{self.port}",
            self.folder,
        ]
        with (self.folder.parent / "minio.log").open("ab") as log:
            self._process = subprocess.Popen(command, env={**os.environ, **keys}, stdout=log, stderr=log)
        http = urllib3.PoolManager(retries=False)
        for _ in range(600):
            try:
                if http.request("GET", f"{self.endpoint}/minio/health/ready").status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                assert self._process.poll() is None, (self.folder.parent / "minio.log").read_text()
            time.sleep(0.1)
        raise AssertionError("MinIO does not become ready")

    def signal(self, number: int) -> None:
        """Send it a signal, such as SIGSTOP or SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def served(folder: Path) -> Iterator[Minio]:
    """Yield a server over a new folder; without its binary the test is skipped."""
    program = binaries.path("minio")
    if not program.exists():
        pytest.skip("needs MinIO: python -m tests.cluster.binaries minio")
    (folder / "data").mkdir(parents=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = Minio(program, folder / "data", port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def make_bucket(url: str) -> None:
    """Make the bucket of a URL where it is missing."""
    Bucket(url).prepare([])
