import json
import uuid

import pytest
import urllib3

from kino import cli
from kino.store import open_store
from tests.cluster import minio
from tests.cluster.place import KEYS


def test_a_bucket_is_prepared_and_an_artifact_linked_to(
    minio_server: minio.Minio, bucket_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = minio_server.url(f"new-{uuid.uuid4().hex}", "films")
    assert cli.main(["store", "prepare", url, "--scratch-days", "3", "--json"]) == cli.EXIT_OK
    assert json.loads(capsys.readouterr().out)["scratch_days"] == 3
    uri = open_store(url).put(b"a film", "video/mp4").uri
    assert cli.main(["store", "link", url, uri, "--seconds", "60"]) == cli.EXIT_OK
    answer = urllib3.PoolManager(retries=False).request("GET", capsys.readouterr().out.strip())
    assert (answer.status, answer.data) == (200, b"a film")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "films"], "STORE is 'films', must be s3://bucket"),
        (["prepare", "s3://films?retries=0"], "retries is '0', must be a whole number from 1 to 20"),
        (["link", "s3://films", "kino://md5/1"], "uri is 'kino://md5/1', must be kino://sha256/"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["store", *arguments]) == cli.EXIT_BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_missing_bucket_or_artifact_is_told(
    minio_server: minio.Minio, bucket_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"kino://sha256/{'0' * 64}"
    assert cli.main(["store", "link", bucket_url, uri]) == cli.EXIT_BAD_INPUT
    assert f"{uri} is not in the store" in capsys.readouterr().err
