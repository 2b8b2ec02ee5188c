import hashlib
import io
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kino.files import FullError
from kino.store import Artifact, DamagedError, FolderStore, NotFoundError, Store, digest_of, open_store

HELLO = "kino://sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
HELLO_PATH = "sha256/2c/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest) -> Store:
    """The same promises are kept by both."""
    if request.param == "folder":
        return FolderStore(request.getfixturevalue("tmp_path") / "store")
    return open_store(request.getfixturevalue("bucket_url"))


@pytest.fixture
def small_files_only() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_the_address_is_the_digest_of_the_bytes(store: Store) -> None:
    artifact = store.put(b"hello", "text/plain")
    assert artifact == Artifact(HELLO, "text/plain", 5)
    assert store.get(HELLO) == b"hello"
    assert store.stat(HELLO) == artifact
    assert store.exists(HELLO)
    assert list(store.list()) == [artifact]


def test_the_folder_holds_bytes_and_description(folder: FolderStore) -> None:
    folder.put(b"hello", "text/plain")
    assert files(folder.root) == [HELLO_PATH, f"{HELLO_PATH}.json"]
    folder.delete(HELLO)
    assert files(folder.root) == []
    with pytest.raises(ValueError, match="source is longer"):
        folder.put(b"hello", "text/plain", max_bytes=4)
    assert files(folder.root) == []
    assert folder.link(folder.put(b"hello", "text/plain").uri, 60) is None


def test_bytes_files_and_streams_give_the_same_artifact(store: Store, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    artifacts = {
        store.put(content, "video/mp4"),
        store.put(tmp_path / "file", "video/mp4"),
        store.put(io.BytesIO(content), "video/mp4"),
    }
    assert artifacts == {Artifact(f"kino://sha256/{hashlib.sha256(content).hexdigest()}", "video/mp4", 3_000_000)}
    assert len(list(store.list())) == 1


def test_nothing_is_an_artifact_too(store: Store) -> None:
    assert store.get(store.put(b"", "application/octet-stream").uri) == b""


def test_open_is_a_seekable_stream_from_the_start(store: Store) -> None:
    store.put(b"hello", "text/plain")
    with store.open(HELLO) as file:
        assert file.read(2) == b"he"
        file.seek(4)
        assert file.read() == b"o"


def test_list_is_in_the_order_of_addresses(store: Store) -> None:
    put = [store.put(bytes([value]), "image/png") for value in range(20)]
    assert list(store.list()) == sorted(put, key=lambda artifact: artifact.uri)


def test_the_later_media_type_is_told(store: Store) -> None:
    store.put(b"hello", "application/octet-stream")
    store.put(b"hello", "text/plain; charset=utf-8")
    assert store.stat(HELLO).media_type == "text/plain; charset=utf-8"


def test_delete_forgets_the_bytes(store: Store) -> None:
    store.put(b"hello", "text/plain")
    store.delete(HELLO)
    assert not store.exists(HELLO)
    assert list(store.list()) == []
    with pytest.raises(NotFoundError, match="is not in the store"):
        store.delete(HELLO)


def test_a_second_store_over_the_folder_sees_what_the_first_put(folder: FolderStore) -> None:
    folder.put(b"hello", "text/plain")
    assert open_store(str(folder.root)).get(HELLO) == b"hello"
    assert open_store(f"file://{folder.root}").get(HELLO) == b"hello"


@pytest.mark.parametrize("method", ["stat", "open", "get", "delete"])
def test_a_missing_artifact_is_not_found(store: Store, method: str) -> None:
    with pytest.raises(NotFoundError, match=HELLO):
        getattr(store, method)(HELLO)
    assert store.put(b"hello", "text/plain").uri == HELLO


def test_bytes_without_their_description_are_not_found(folder: FolderStore) -> None:
    folder.put(b"hello", "text/plain")
    (folder.root / f"{HELLO_PATH}.json").unlink()
    with pytest.raises(NotFoundError, match=HELLO):
        folder.get(HELLO)


def test_a_description_without_its_bytes_is_not_found(folder: FolderStore) -> None:
    folder.put(b"hello", "text/plain")
    (folder.root / HELLO_PATH).unlink()
    assert not folder.exists(HELLO)
    with pytest.raises(NotFoundError, match=HELLO):
        folder.get(HELLO)


def test_a_truncated_artifact_is_damaged_and_putting_it_again_heals_it(folder: FolderStore) -> None:
    folder.put(b"hello", "text/plain")
    (folder.root / HELLO_PATH).write_bytes(b"hell")
    assert not folder.exists(HELLO)
    with pytest.raises(DamagedError, match="expected 5 bytes, found 4 bytes") as caught:
        folder.get(HELLO)
    assert caught.value.name == HELLO
    folder.put(b"hello", "text/plain")
    assert folder.get(HELLO) == b"hello"


def test_an_altered_artifact_is_damaged(folder: FolderStore) -> None:
    folder.put(b"hello", "text/plain")
    (folder.root / HELLO_PATH).write_bytes(b"hellO")
    with pytest.raises(DamagedError) as caught:
        folder.open(HELLO)
    assert caught.value.expected == f"sha256 {digest_of(HELLO)}"
    assert caught.value.actual == f"sha256 {hashlib.sha256(b'hellO').hexdigest()}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uri": 1}', '{"uri": "x", "media_type": "a/b", "size_bytes": 5}'])
def test_an_altered_description_is_damaged(folder: FolderStore, text: str) -> None:
    folder.put(b"hello", "text/plain")
    (folder.root / f"{HELLO_PATH}.json").write_text(text)
    with pytest.raises(DamagedError, match=HELLO):
        folder.get(HELLO)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/etc/passwd",
        "kino://sha256/../../../../etc/passwd",
        "kino://sha256/" + "../" * 21 + "a",
        HELLO + "/../x",
        HELLO + "\n",
        HELLO.upper(),
        HELLO[:-1],
        "kino://md5/" + "0" * 64,
        "file://" + HELLO,
    ],
)
@pytest.mark.parametrize("method", ["stat", "exists", "open", "get", "delete"])
def test_no_address_leaves_the_store(store: Store, method: str, uri: str) -> None:
    with pytest.raises(ValueError, match=r"uri is .*, must be kino://sha256"):
        getattr(store, method)(uri)


@pytest.mark.parametrize("media_type", ["", "png", "image/", "image/png\n", "image/../png", "a/b" + "; " * 100])
def test_a_malformed_media_type_is_refused(store: Store, media_type: str) -> None:
    with pytest.raises(ValueError, match=r"media_type is .*, must be of the form type/subtype"):
        store.put(b"hello", media_type)
    assert list(store.list()) == []


def test_a_source_over_its_bound_is_refused_and_leaves_nothing(store: Store) -> None:
    assert store.put(io.BytesIO(b"hello"), "text/plain", max_bytes=5).size_bytes == 5
    store.delete(HELLO)
    with pytest.raises(ValueError, match="source is longer than 4 bytes"):
        store.put(io.BytesIO(b"hello"), "text/plain", max_bytes=4)
    assert list(store.list()) == []


@pytest.mark.usefixtures("small_files_only")
def test_a_full_disk_is_a_typed_error_and_leaves_nothing(folder: FolderStore) -> None:
    with pytest.raises(FullError, match="no room left"):
        folder.put(bytes(200_000), "video/mp4")
    assert files(folder.root) == []
    assert folder.put(b"hello", "text/plain").uri == HELLO


def test_a_source_that_breaks_leaves_nothing(store: Store) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("the peer went away")

    with pytest.raises(ConnectionResetError, match="the peer went away"):
        store.put(Broken(), "video/mp4")
    assert list(store.list()) == []


def test_what_a_crash_left_is_swept_after_a_day(folder: FolderStore) -> None:
    old, new = folder.root / "tmp" / ".scratch-old", folder.root / "tmp" / ".scratch-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000, time.time() - 90_000))
    FolderStore(folder.root)
    assert (old.exists(), new.exists()) == (False, True)


def test_threads_that_put_and_delete_the_same_bytes_leave_a_whole_store(folder: FolderStore) -> None:
    def put() -> None:
        for _ in range(30):
            folder.put(b"hello", "text/plain")

    def delete() -> None:
        for _ in range(30):
            try:
                folder.delete(HELLO)
            except NotFoundError:
                continue

    threads = [threading.Thread(target=target) for target in (put, delete, put, delete)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(folder.root) in ([], [HELLO_PATH, f"{HELLO_PATH}.json"])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://host/films", "store is of the scheme 'https', must be"),
        ("", "must name a folder"),
        ("file://", "must name a folder"),
    ],
)
def test_a_store_elsewhere_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(url)
