"""A film whose artifacts lie in a real MinIO, which dies in the middle of it."""

from pathlib import Path

import pytest

from kino.bucket_store import BucketStore
from kino.client import Kino
from kino.store import open_store
from kino.v1 import graph_pb2
from tests.cluster import minio
from tests.cluster.place import KEYS
from tests.e2e.conftest import Served, start
from tests.e2e.test_generations import film_with_many_checkpoints, until_it_denoises

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_a_film_survives_its_store_and_equals_that_of_a_folder(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "data").mkdir()
    with minio.served(tmp_path / "server") as server:
        url = server.url("films", "artifacts")
        minio.make_bucket(url)
        over_bucket = start(tmp_path / "data", "--store", url, "--drain-seconds", "1")
        with Kino(over_bucket.graph) as kino:
            id = kino.generations.create(film_with_many_checkpoints()).id
            until_it_denoises(kino, id)
            server.kill()
            server.start()
            assert [entry.state for entry in kino.generations.watch(id)][-1] == graph_pb2.GENERATION_STATE_SUCCEEDED
            (artifact,) = kino.generations.get(id).artifacts
            content = kino.artifacts.download(artifact.media.uri)
        assert over_bucket.end() == 0
        store = open_store(url)
        assert isinstance(store, BucketStore)
        assert store.get(artifact.media.uri) == content
        assert f"made/{artifact.media.uri.rpartition('/')[2]}" in list(store.records.list("made/"))
    with Kino(served.graph) as kino:
        (expected,) = kino.generations.run(film_with_many_checkpoints()).artifacts
        assert artifact.media.uri == expected.media.uri
        assert content == kino.artifacts.download(expected.media.uri)
