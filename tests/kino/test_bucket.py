import hashlib
import io
import os
import threading
import uuid

import pytest
import urllib3
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from kino.bucket import Bucket, Expiry
from kino.bucket_store import BucketStore
from kino.records import ConflictError
from kino.store import (
    BucketMissingError,
    DamagedError,
    NotFoundError,
    StoreDeniedError,
    StoreUnavailableError,
    open_store,
)
from tests.cluster import minio
from tests.cluster.proxy import proxied


@pytest.fixture
def bucket(bucket_url: str) -> Bucket:
    return Bucket(bucket_url)


def test_an_object_is_created_once(bucket: Bucket) -> None:
    bucket.create("manifest", b"1")
    with pytest.raises(ConflictError, match="manifest was changed by another writer") as caught:
        bucket.create("manifest", b"2")
    assert isinstance(caught.value.__cause__, S3Error)
    assert caught.value.__cause__.response.status == 412
    assert bucket.read("manifest")[0] == b"1"


def test_an_object_is_replaced_only_by_who_read_its_content(bucket: Bucket) -> None:
    bucket.create("alias", b"1")
    _, etag = bucket.read("alias")
    bucket.replace("alias", b"2", etag)
    with pytest.raises(ConflictError) as caught:
        bucket.replace("alias", b"3", etag)
    assert isinstance(caught.value.__cause__, S3Error)
    assert caught.value.__cause__.response.status == 412
    assert bucket.read("alias")[0] == b"2"


def test_of_many_who_create_an_object_one_wins(bucket: Bucket) -> None:
    outcomes = []

    def create(number: int) -> None:
        try:
            bucket.create("one", str(number).encode())
            outcomes.append(number)
        except ConflictError:
            outcomes.append(-1)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[:7] == [-1] * 7
    assert bucket.read("one")[0] == str(max(outcomes)).encode()


def test_a_write_whose_answer_was_lost_is_known_by_its_mark(bucket_url: str, minio_server: minio.Minio) -> None:
    with proxied(minio_server.port) as proxy:
        bucket = Bucket(bucket_url.replace(str(minio_server.port), str(proxy.port)))
        proxy.cut = 0
        bucket.create("alias", b"1")  # sent twice: the second is refused, and finds what the first wrote
        assert proxy.cuts == 1
        etag = bucket.read("alias")[1]
        proxy.cut = 0
        bucket.replace("alias", b"2", etag)
        assert proxy.cuts == 2
        proxy.cut = 0
        with pytest.raises(ConflictError):
            bucket.replace("alias", b"3", etag)


def test_a_large_object_goes_in_parts_and_a_broken_transfer_goes_on(bucket_url: str, minio_server: minio.Minio) -> None:
    content = os.urandom(35 << 20)
    with proxied(minio_server.port) as proxy:
        bucket = Bucket(bucket_url.replace(str(minio_server.port), str(proxy.port)))
        bucket.upload("film", io.BytesIO(content), len(content), "video/mp4")
        assert bucket.stat("film").etag.endswith("-3")
        proxy.cut = 20 << 20
        with bucket.open("film") as file:
            assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()
        assert proxy.cuts == 1


def test_what_is_not_what_was_written_is_damaged(bucket_url: str) -> None:
    store = open_store(bucket_url)
    artifact = store.put(b"hello", "text/plain")
    key = "sha256/2c/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    Bucket(bucket_url).write(key, b"hellO")
    with pytest.raises(DamagedError) as caught:
        store.get(artifact.uri)
    assert caught.value.actual == f"sha256 {hashlib.sha256(b'hellO').hexdigest()}"
    store.put(b"hello", "text/plain")
    assert store.get(artifact.uri) == b"hello"


def test_a_link_opens_one_artifact_to_those_without_keys(bucket_url: str, minio_server: minio.Minio) -> None:
    store = open_store(bucket_url)
    uri = store.put(b"a film", "video/mp4").uri
    link, http = store.link(uri, 60), urllib3.PoolManager(retries=False)
    assert link is not None
    answer = http.request("GET", link)
    assert (answer.status, answer.data, answer.headers["Content-Type"]) == (200, b"a film", "video/mp4")
    assert http.request("GET", link.partition("?")[0]).status == 403
    assert http.request("GET", link.replace("Expires=60", "Expires=600")).status == 403
    outside = open_store(f"{bucket_url}&public_endpoint=https://films.example:8443").link(uri, 60)
    assert outside is not None
    assert outside.startswith("https://films.example:8443/kino-tests/")
    with pytest.raises(ValueError, match="seconds is 604801, must be from 1 to 604800"):
        store.link(uri, 604801)
    with pytest.raises(NotFoundError):
        store.link(f"kino://sha256/{'0' * 64}", 60)


def chosen(rule: Rule) -> Filter:
    assert rule.rule_filter is not None
    return rule.rule_filter


def test_scratch_expires_and_films_stay(minio_server: minio.Minio, bucket_url: str) -> None:
    url = minio_server.url(f"life-{uuid.uuid4().hex}", "films")
    bucket = Bucket(url)
    bucket.prepare([])
    name = bucket.url.bucket
    foreign = Rule(ENABLED, rule_filter=Filter(prefix="other/"), rule_id="theirs", expiration=Expiration(days=9))
    bucket.client.set_bucket_lifecycle(name, LifecycleConfig([foreign]))
    store = BucketStore(bucket)
    for days in (3, 7):
        store.prepare(scratch_days=days)
    found = bucket.client.get_bucket_lifecycle(name)
    assert found is not None
    rules = {rule.rule_id: rule for rule in found.rules}
    assert rules.keys() == {"theirs", "kino/films/tensors", "kino/films/checkpoints"}
    tensors, checkpoints = (rules[f"kino/films/{name}"] for name in ("tensors", "checkpoints"))
    assert tensors.expiration is not None
    assert tensors.expiration.days == 7
    both = chosen(tensors).and_operator
    assert both is not None
    assert (both.prefix, both.tags) == ("films/sha256/", {"kino": "scratch"})
    assert chosen(checkpoints).prefix == "films/records/checkpoints/"
    tags = {}
    for media_type in ("application/octet-stream", "video/mp4"):
        digest = store.put(media_type.encode(), media_type).uri.rpartition("/")[2]
        tags[media_type] = bucket.client.get_object_tags(name, f"films/sha256/{digest[:2]}/{digest}")
    assert tags == {"application/octet-stream": {"kino": "scratch"}, "video/mp4": None}
    with pytest.raises(ValueError, match="scratch_days is 0, must be at least 1"):
        store.prepare(scratch_days=0)


def test_rules_without_a_tag_are_for_all_under_a_prefix() -> None:
    rule = Expiry("old", "records/", 5).rule("films/")
    assert (rule.rule_id, chosen(rule).prefix) == ("kino/films/old", "films/records/")


def test_wrong_keys_are_told(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StoreDeniedError, match="refuses these keys: SignatureDoesNotMatch"):
        Bucket(bucket_url).write("a", b"")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StoreDeniedError, match="refuses these keys: InvalidAccessKeyId"):
        Bucket(bucket_url).write("a", b"")
    with pytest.raises(StoreDeniedError, match="refuses these keys"):
        open_store(bucket_url)


def test_no_keys_are_told(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StoreDeniedError, match="no keys, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store(bucket_url)


def test_a_missing_bucket_is_told(minio_server: minio.Minio, bucket_url: str) -> None:
    url = minio_server.url("no-such-bucket", "films")
    with pytest.raises(BucketMissingError, match="there is no bucket 'no-such-bucket'"):
        open_store(url)
    with pytest.raises(BucketMissingError, match="there is no such bucket"):
        Bucket(url).write("a", b"")


def test_an_absent_server_is_told_after_bounded_retries(free_port: int, bucket_url: str) -> None:
    url = f"s3://films?endpoint=http://127.0.0.1:{free_port}&retries=1"
    with pytest.raises(StoreUnavailableError, match=rf"http://127.0.0.1:{free_port} does not answer: .*refused"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "must be of the form s3://bucket/prefix"),
        ("s3:///films", "must be of the form s3://bucket/prefix"),
        ("s3://key:secret@films", "store holds keys in its URL"),
        ("s3://films?endpiont=http://h", "the setting 'endpiont', must be one of endpoint, public_endpoint, region"),
        ("s3://films?endpoint=host:9000", "endpoint is 'host:9000', must be of the form https://host:port"),
        ("s3://films?endpoint=http://host/path", "endpoint is .* must be of the form"),
        ("s3://films?retries=-1", "retries is '-1', must be a whole number from 1 to 20"),
        ("s3://films?timeout_seconds=0", "timeout_seconds is '0', must be a whole number from 1 to 600"),
    ],
)
def test_a_wrong_url_is_told(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(url)
