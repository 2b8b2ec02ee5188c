"""A MinIO that hangs, dies and has no room left: errors have types, retries end, and nothing that was kept is lost."""

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import urllib3
from minio.error import S3Error

from kino.bucket import Bucket
from kino.files import FullError
from kino.store import StoreError, StoreUnavailableError, open_store
from tests.cluster import minio
from tests.cluster.place import KEYS


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[minio.Minio]:
    """A server that the test may pause and kill."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with minio.served(tmp_path / "server") as server:
        minio.make_bucket(server.url("films"))
        yield server


def test_a_server_that_hangs_is_told_and_works_again_without_a_restart(own_server: minio.Minio) -> None:
    store = open_store(own_server.url("films", retries=1, timeout_seconds=1))
    kept = store.put(b"before", "text/plain").uri
    own_server.signal(signal.SIGSTOP)
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.put(b"hello", "text/plain")
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.get(kept)
    own_server.signal(signal.SIGCONT)
    assert store.get(kept) == b"before"
    assert store.get(store.put(b"hello", "text/plain").uri) == b"hello"


def test_what_was_acknowledged_survives_a_crash_in_the_middle_of_writes(own_server: minio.Minio) -> None:
    store, written, failures = open_store(own_server.url("films")), [], []
    store.records.write("count", b"0")
    running = threading.Event()

    def write(name: int) -> None:
        for number in range(40):
            try:
                uri = store.put(f"{name}/{number}".encode(), "text/plain").uri
                store.records.write(f"made/{name}-{number}", uri.encode())
                written.append((f"made/{name}-{number}", uri))
            except StoreUnavailableError as error:
                failures.append(error)
            if len(written) > 10:
                running.set()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    assert running.wait(60)
    own_server.kill()
    own_server.start()
    for thread in threads:
        thread.join()
    assert failures == []  # the retries reach over the outage
    assert len(written) == 120
    for name, uri in written:
        assert store.records.read(name) == uri.encode()
        assert hashlib.sha256(store.get(uri)).hexdigest() == uri.rpartition("/")[2]


@pytest.fixture
def full_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[minio.Minio]:
    """A server on a disk of 48 MB."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    disk = tmp_path / "server"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        with minio.served(disk) as server:
            minio.make_bucket(server.url("films"))
            yield server
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_told_and_what_is_there_stays(full_server: minio.Minio) -> None:
    store = open_store(full_server.url("films", retries=1))
    kept = store.put(b"before", "text/plain").uri
    with pytest.raises(FullError, match="no room left"):
        store.put(os.urandom(60 << 20), "video/mp4")
    assert [artifact.uri for artifact in store.list()] == [kept]
    assert store.get(kept) == b"before"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDownWrite", StoreUnavailableError),
        (500, "SomethingThatNoListNames", StoreUnavailableError),
        (409, "OperationAborted", StoreUnavailableError),
        (507, "XMinioStorageFull", FullError),
        (400, "InvalidRequest", StoreError),
    ],
)
def test_a_server_in_trouble_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[Exception]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    answer = S3Error(urllib3.HTTPResponse(status=status), code, "what it says", None, None, None)
    bucket = Bucket("s3://films?endpoint=http://127.0.0.1:1&region=a")
    monkeypatch.setattr(bucket.client, "stat_object", Mock(side_effect=answer))
    with pytest.raises(Exception, match="what it says") as caught:
        bucket.stat("film")
    assert type(caught.value) is kind
