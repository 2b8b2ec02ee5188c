from dataclasses import replace
from pathlib import Path

import pytest

from kino.bucket import Bucket
from kino.manifest import Manifest
from kino.registry import Registry
from kino.store import BucketMissingError, DamagedError, NotFoundError, StoreDeniedError, StoreUnavailableError
from tests.cluster import minio

MANIFEST = Manifest("tae", "1", "mini", {}, created="2026-01-02T03:04:05Z")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "weights").write_bytes(b"these are the weights")
    return {"model.safetensors": tmp_path / "weights"}


def keys(url: str) -> list[str]:
    return [found.key for found in Bucket(url).list()]


def test_a_version_lies_under_its_name_and_its_files_under_their_digests(
    bucket_url: str, files: dict[str, Path]
) -> None:
    registry = Registry(bucket_url)
    digest = registry.publish(MANIFEST, files).digests["model.safetensors"]
    registry.set_alias("tae", "candidate", "1", expected=None)
    assert keys(bucket_url) == [
        f"tae/1/{digest}/model.safetensors",
        "tae/1/manifest.json",
        "tae/aliases/candidate",
    ]
    registry.set_alias("tae", "production", "candidate", expected=None)
    assert registry.resolve("tae", "production").version == "1"


def test_what_a_dead_publisher_left_is_no_version_and_hinders_nobody(bucket_url: str, files: dict[str, Path]) -> None:
    Bucket(bucket_url).write(f"tae/1/{'0' * 64}/model.safetensors", b"half")
    registry = Registry(bucket_url)
    assert registry.versions("tae") == []
    with pytest.raises(NotFoundError, match="tae has no version '1'; known: none"):
        registry.resolve("tae", "1")
    published = registry.publish(MANIFEST, files)
    assert registry.file(published, "model.safetensors").read_bytes() == b"these are the weights"


def test_an_altered_copy_is_fetched_again_and_an_altered_object_refused(
    bucket_url: str, files: dict[str, Path]
) -> None:
    registry = Registry(bucket_url)
    published = registry.publish(MANIFEST, files)
    path = registry.file(published, "model.safetensors")
    assert path == registry.folder(published) / "model.safetensors"
    path.write_bytes(b"altered")
    assert registry.file(published, "model.safetensors").read_bytes() == b"these are the weights"
    key = f"tae/1/{published.digests['model.safetensors']}/model.safetensors"
    Bucket(bucket_url).write(key, b"altered")
    assert registry.file(published, "model.safetensors") == path  # the copy is as it should be
    path.unlink()
    with pytest.raises(DamagedError, match=key):
        registry.file(published, "model.safetensors")
    assert not path.exists()
    Bucket(bucket_url).delete(key)
    with pytest.raises(DamagedError, match="found no file"):
        registry.file(published, "model.safetensors")
    with pytest.raises(DamagedError, match="found no file"):
        registry.size_bytes(published, "model.safetensors")


def test_files_of_a_version_may_lie_in_folders_of_the_bucket(bucket_url: str, files: dict[str, Path]) -> None:
    registry = Registry(bucket_url)
    published = registry.publish(MANIFEST, {"vae/model.safetensors": files["model.safetensors"]})
    assert registry.file(published, "vae/model.safetensors") == registry.folder(published) / "vae/model.safetensors"
    assert (registry.components(), registry.versions("tae")) == (["tae"], ["1"])


def test_who_cannot_reach_the_bucket_is_told_why(
    minio_server: minio.Minio, bucket_url: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BucketMissingError, match="there is no such bucket"):
        Registry(minio_server.url("no-such-bucket")).resolve("tae", "1")
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        Registry(f"s3://models?endpoint=http://127.0.0.1:{free_port}&retries=1").resolve("tae", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StoreDeniedError, match="refuses these keys"):
        Registry(bucket_url).resolve("tae", "1")


def test_deleting_removes_every_object(bucket_url: str, files: dict[str, Path]) -> None:
    registry = Registry(bucket_url)
    registry.attach_graph(registry.publish(MANIFEST, files), b"a graph")
    registry.publish(replace(MANIFEST, version="10"), files)
    registry.delete("tae", "1")
    assert {key.split("/")[1] for key in keys(bucket_url)} == {"10"}
