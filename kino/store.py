"""The artifact store: bytes named by their content, and small named records beside them.

An artifact's address is `kino://sha256/<64 hexadecimal digits>`, the SHA-256 of its bytes. Putting the same bytes twice
gives the same address, what was read is what was written or an error, and an address can be handed to anyone.

A folder store lies on disk as::

    sha256/ab/ab12...        the bytes
    sha256/ab/ab12....json   media type and size; an artifact exists once this does
    records/<name>           small named values that may change, one file each
    tmp/                     files being written; what a crash leaves here is swept a day later
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from kino.files import commit, folder_lock, scratch_file, sync_file
from kino.records import FolderRecords, Records

_URI = re.compile(r"kino://sha256/([0-9a-f]{64})")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*(; ?[a-z0-9-]+=[A-Za-z0-9._-]+)*")
_CHUNK_BYTES = 1 << 20
_SWEEP_SECONDS = 24 * 3600


class StoreError(Exception):
    """What a store or registry cannot do; a caller's own mistakes are `ValueError`, no room is `FullError`."""


class NotFoundError(StoreError):
    """Nothing is stored under this name."""


class DamagedError(StoreError):
    """What is stored is not what was written: truncated, altered or unreadable."""

    def __init__(self, name: str, expected: str, actual: str) -> None:
        super().__init__(f"{name} is damaged: expected {expected}, found {actual}")
        self.name, self.expected, self.actual = name, expected, actual


class StoreUnavailableError(StoreError):
    """The server behind the store does not answer, or not in time; the same call may succeed later."""


class StoreDeniedError(StoreError):
    """The keys of the store are missing, wrong or not good for this."""


class BucketMissingError(StoreError):
    """The bucket of the store does not exist."""


@dataclass(frozen=True)
class Artifact:
    """The address and description of stored bytes."""

    uri: str
    media_type: str
    size_bytes: int


class Store(Protocol):
    """Bytes by content address. Every method raises `ValueError` for an address of another form."""

    @property
    def records(self) -> Records:
        """The small named values beside the artifacts."""

    def put(self, source: bytes | Path | BinaryIO, media_type: str, max_bytes: int | None = None) -> Artifact:
        """Store bytes, a file or what a stream has left, and return the artifact.

        The same bytes under another media type keep one address, and the later type is the one `stat` tells.

        Raises:
            ValueError: the media type is malformed, or there are more than `max_bytes`.
            kino.files.FullError: no room; nothing is kept.
        """

    def stat(self, uri: str) -> Artifact:
        """Return the description without reading the bytes; `NotFoundError`, or `DamagedError` if the size is off."""

    def exists(self, uri: str) -> bool:
        """Return whether the artifact is there at its full size."""

    def open(self, uri: str) -> BinaryIO:
        """Return a seekable stream whose digest has been verified; `NotFoundError` or `DamagedError` otherwise."""

    def get(self, uri: str) -> bytes:
        """Return all the bytes, verified as by `open`."""

    def list(self) -> Iterator[Artifact]:
        """Yield every artifact in the order of addresses."""

    def delete(self, uri: str) -> None:
        """Remove the artifact, or raise `NotFoundError`."""

    def link(self, uri: str, seconds: int) -> str | None:
        """Return a URL by which anyone may read the artifact for so long, 1 to 604800; None where there is no server.

        Raises:
            NotFoundError: nothing is stored there.
        """


def open_store(url: str) -> Store:
    """Return the store at `url`: a folder path, the same as `file://<path>`, or `s3://<bucket>` as in `kino.bucket`.

    Raises:
        ValueError: the scheme is another one, the path is empty, or a setting of the bucket is wrong.
        StoreError: the bucket cannot be used; the types tell why.
        ModuleNotFoundError: a bucket is named, and the extra s3 is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "s3":
        from kino.bucket_store import open_bucket_store  # an extra, and who has a folder has no need of it

        return open_bucket_store(url)
    if separator and scheme != "file":
        raise ValueError(f"store is of the scheme {scheme!r}, must be a folder path, file://<path> or s3://<bucket>")
    path = rest if separator else url
    if not path:
        raise ValueError(f"store is {url!r}, must name a folder")
    return FolderStore(Path(path))


def digest_of(uri: str) -> str:
    """Return the hexadecimal digest inside an artifact's address, or raise `ValueError`."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise ValueError(f"uri is {uri[:120]!r}, must be kino://sha256/<64 hex digits>")
    return match[1]


def check_media_type(media_type: str) -> None:
    """Raise ValueError for what is no media type."""
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError(f"media_type is {media_type[:120]!r}, must be of the form type/subtype")


class FolderStore:
    """A `Store` in a folder that processes and threads may share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records: Records = FolderRecords(root / "records")
        self._scratch = root / "tmp"
        self._scratch.mkdir(parents=True, exist_ok=True)
        for path in self._scratch.iterdir():
            with suppress(FileNotFoundError):  # another process has just finished with it
                if time.time() - path.stat().st_mtime > _SWEEP_SECONDS:
                    path.unlink()

    def put(self, source: bytes | Path | BinaryIO, media_type: str, max_bytes: int | None = None) -> Artifact:
        """Store the source and return the artifact; see `Store.put`. A damaged copy is healed by putting it again."""
        check_media_type(media_type)
        digest, size_bytes = hashlib.sha256(), 0
        with scratch_file(self._scratch) as data, scratch_file(self._scratch) as description:
            for chunk in chunks(source):
                size_bytes += len(chunk)
                if max_bytes is not None and size_bytes > max_bytes:
                    raise ValueError(f"source is longer than {max_bytes} bytes, must be at most that")
                digest.update(chunk)
                data.write(chunk)
            artifact = Artifact(f"kino://sha256/{digest.hexdigest()}", media_type, size_bytes)
            description.write(json.dumps(asdict(artifact), sort_keys=True).encode())
            path = self._path(artifact.uri)
            sync_file(data)
            with folder_lock(self.root):
                commit(path.parent, data, path.name)
                commit(path.parent, description, f"{path.name}.json")
        return artifact

    def stat(self, uri: str) -> Artifact:
        """Return the description; see `Store.stat`."""
        path = self._path(uri)
        artifact = _read_description(path.with_suffix(".json"))
        try:
            size_bytes = path.stat().st_size
        except FileNotFoundError:
            raise NotFoundError(f"{uri} is not in the store") from None
        if size_bytes != artifact.size_bytes:
            raise DamagedError(uri, f"{artifact.size_bytes} bytes", f"{size_bytes} bytes")
        return artifact

    def exists(self, uri: str) -> bool:
        """Return whether the artifact is there at its full size."""
        try:
            self.stat(uri)
        except (NotFoundError, DamagedError):
            return False
        return True

    def open(self, uri: str) -> BinaryIO:
        """Return a verified seekable stream; see `Store.open`."""
        self.stat(uri)
        try:
            file = self._path(uri).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"{uri} is not in the store") from None
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
        for path in sorted(self.root.glob("sha256/??/*.json")):
            yield _read_description(path)

    def delete(self, uri: str) -> None:
        """Remove the artifact, or raise `NotFoundError`."""
        path = self._path(uri)
        with folder_lock(self.root):
            try:
                path.with_suffix(".json").unlink()
            except FileNotFoundError:
                raise NotFoundError(f"{uri} is not in the store") from None
            path.unlink(missing_ok=True)

    def link(self, uri: str, seconds: int) -> str | None:
        """Return None: a folder has no server; see `Store.link`."""
        self.stat(uri)
        return None

    def _path(self, uri: str) -> Path:
        digest = digest_of(uri)
        return self.root / "sha256" / digest[:2] / digest


def chunks(source: bytes | Path | BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of what can be put into a store."""
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, Path):
        with source.open("rb") as file:
            yield from chunks(file)
    else:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk


def _read_description(path: Path) -> Artifact:
    uri = f"kino://sha256/{path.stem}"
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise NotFoundError(f"{uri} is not in the store") from None
    try:
        artifact = Artifact(**json.loads(text))
    except (ValueError, TypeError):
        raise DamagedError(uri, "a JSON description", repr(text[:80])) from None
    if artifact.uri != uri:
        raise DamagedError(uri, uri, artifact.uri)
    return artifact
