import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cluster import minio
from tests.cluster.place import KEYS
from tests.kino.rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = await Rig().start()
    yield rig
    await rig.channel.close()
    await rig.server.stop()


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[minio.Minio]:
    """One real MinIO for all tests that leave it as it is."""
    with minio.served(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def bucket_url(minio_server: minio.Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own in a bucket of the real MinIO, which it has the keys for."""
    monkeypatch.setenv("KINO_CACHE", str(tmp_path / "cache"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    url = minio_server.url("kino-tests", uuid.uuid4().hex, retries=2, timeout_seconds=20)
    minio.make_bucket(url)
    return url
