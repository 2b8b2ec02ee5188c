"""The artifact store and its records in a bucket of an S3 server.

Under the prefix of the bucket lie::

    sha256/ab/ab12...    the bytes of an artifact; its media type is the object's own
    records/<name>       small named values that may change, by conditional writes
"""

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kino.bucket import Bucket, Expiry, Object
from kino.files import full_is_typed
from kino.records import ConflictError, Records, check_name, check_value
from kino.store import Artifact, DamagedError, NotFoundError, check_media_type, chunks, digest_of

TENSOR_TYPE = "application/octet-stream"
"""Media type of the tensors that services pass to each other, which can be computed again."""
SCRATCH_TAG = {"kino": "scratch"}
"""Tag of artifacts that the rules of a bucket may expire."""


def open_bucket_store(url: str) -> "BucketStore":
    """Return the store in a bucket that can be reached; raises as `kino.bucket.Bucket` and its `check`."""
    bucket = Bucket(url)
    bucket.check()
    return BucketStore(bucket)


class BucketStore:
    """A `kino.store.Store` in a bucket that processes and machines may share."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.records: Records = BucketRecords(bucket, "records/")

    def put(self, source: bytes | Path | BinaryIO, media_type: str, max_bytes: int | None = None) -> Artifact:
        """Store the source and return the artifact; see `Store.put`. It is sent whole even where it is there already.

        Raises:
            kino.files.FullError: no room is left, there or for the copy that is hashed here before.
        """
        check_media_type(media_type)
        with _hashed(source, max_bytes) as (file, digest, size_bytes):
            tags = SCRATCH_TAG if media_type == TENSOR_TYPE else {}
            artifact = Artifact(f"kino://sha256/{digest}", media_type, size_bytes)
            self.bucket.upload(_key(artifact.uri), file, size_bytes, media_type, tags)
        return artifact

    def prepare(self, scratch_days: int) -> None:
        """Make the bucket where it is missing; tensors and checkpoints in it expire so many days after their writing.

        Whoever misses one computes it again; films, and the records of how they were made, stay.
        """
        if scratch_days < 1:
            raise ValueError(f"scratch_days is {scratch_days}, must be at least 1")
        tag = next(iter(SCRATCH_TAG.items()))
        self.bucket.prepare(
            [
                Expiry("tensors", "sha256/", scratch_days, tag),
                Expiry("checkpoints", "records/checkpoints/", scratch_days),
            ]
        )

    def stat(self, uri: str) -> Artifact:
        """Return the description; see `Store.stat`. An object is whole, so its size is never off."""
        with _missing(uri):
            found = self.bucket.stat(_key(uri))
        return Artifact(uri, found.media_type, found.size_bytes)

    def exists(self, uri: str) -> bool:
        """Return whether the artifact is there."""
        try:
            self.stat(uri)
        except NotFoundError:
            return False
        return True

    def open(self, uri: str) -> BinaryIO:
        """Return a verified seekable stream, a temporary file here; see `Store.open`."""
        with _missing(uri):
            file = self.bucket.open(_key(uri))
        expected, actual = digest_of(uri), hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            file.close()
            raise DamagedError(uri, f"sha256 {expected}", f"sha256 {actual}")
        file.seek(0)
        return file

    def get(self, uri: str) -> bytes:
        """Return all the bytes, verified."""
        with self.open(uri) as file:
            return file.read()

    def list(self) -> Iterator[Artifact]:
        """Yield every artifact in the order of addresses."""
        for found in self.bucket.list("sha256/"):
            yield self.stat(_uri(found))

    def delete(self, uri: str) -> None:
        """Remove the artifact, or raise `NotFoundError`."""
        self.stat(uri)
        self.bucket.delete(_key(uri))

    def link(self, uri: str, seconds: int) -> str | None:
        """Return a URL by which anyone may read the artifact for so long; see `Store.link`."""
        self.stat(uri)
        return self.bucket.link(_key(uri), seconds)


class BucketRecords:
    """`kino.records.Records` as small objects of a bucket, changed by conditional writes."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket, self.prefix = bucket, prefix

    def read(self, name: str) -> bytes | None:
        """Return the value, or None where nothing has that name."""
        value, _ = self._read(name)
        return value

    def write(self, name: str, value: bytes) -> None:
        """Set the value whatever it was."""
        check_value(value)
        self.bucket.write(self._key(name), value)

    def swap(self, name: str, expected: bytes | None, value: bytes) -> None:
        """Set the value if it is still `expected` (None: if it is absent), else raise `ConflictError`."""
        check_value(value)
        found, etag = self._read(name)
        if found != expected:
            raise ConflictError(f"record {name}: holds {found!r:.120}, the writer expected {expected!r:.120}")
        try:
            if found is None:
                self.bucket.create(self._key(name), value)
            else:
                self.bucket.replace(self._key(name), value, etag)
        except (ConflictError, NotFoundError):
            raise ConflictError(f"record {name}: was changed while the writer expected {expected!r:.120}") from None

    def delete(self, name: str) -> None:
        """Forget the value; nothing happens where there is none."""
        self.bucket.delete(self._key(name))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix`, sorted."""
        for found in self.bucket.list(self.prefix + prefix):
            yield found.key.removeprefix(self.prefix)

    def _read(self, name: str) -> tuple[bytes | None, str]:
        try:
            return self.bucket.read(self._key(name))
        except NotFoundError:
            return None, ""

    def _key(self, name: str) -> str:
        check_name(name)
        return self.prefix + name


@contextmanager
def _hashed(source: bytes | Path | BinaryIO, max_bytes: int | None) -> Iterator[tuple[BinaryIO, str, int]]:
    """Yield a source as a file of its own that nobody else changes, with its digest and size."""
    digest, size_bytes = hashlib.sha256(), 0
    with full_is_typed(Path(tempfile.gettempdir())), _own_file(source) as file:
        for chunk in chunks(source):
            size_bytes += len(chunk)
            if max_bytes is not None and size_bytes > max_bytes:
                raise ValueError(f"source is longer than {max_bytes} bytes, must be at most that")
            digest.update(chunk)
            if not isinstance(source, bytes):
                file.write(chunk)
        file.seek(0)
        yield file, digest.hexdigest(), size_bytes


def _own_file(source: bytes | Path | BinaryIO) -> io.BytesIO | io.BufferedRandom:
    return io.BytesIO(source) if isinstance(source, bytes) else tempfile.TemporaryFile()


@contextmanager
def _missing(uri: str) -> Iterator[None]:
    """Name an artifact that is not there by its address."""
    try:
        yield
    except NotFoundError:
        raise NotFoundError(f"{uri} is not in the store") from None


def _key(uri: str) -> str:
    digest = digest_of(uri)
    return f"sha256/{digest[:2]}/{digest}"


def _uri(found: Object) -> str:
    return f"kino://sha256/{found.key.rpartition('/')[2]}"
