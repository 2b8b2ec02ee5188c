"""Versions of models in a bucket of an S3 server.

Under the prefix of the bucket lie::

    <component>/<version>/manifest.json       what it is; a version exists once this does
    <component>/<version>/<sha256>/<name>     its files, each under its digest, so that racing publishers never meet
    <component>/aliases/<alias>               the name of a version, and those it stood for before

Files are read from copies on this machine, in `$KINO_CACHE/models` (`$XDG_CACHE_HOME/kino`, `~/.cache/kino`).
"""

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from kino.bucket import Bucket
from kino.bucket_store import BucketRecords
from kino.files import commit, scratch_file
from kino.records import ConflictError, Records
from kino.store import DamagedError, NotFoundError
from kino.versions import ALIASES, MANIFEST_FILE, NAME, digest_of_file

_ATTEMPTS = 8
_COPY_BYTES = 1 << 20
_FILE_TYPE = "application/octet-stream"


def cache_folder() -> Path:
    """Return where this machine keeps what it can fetch again."""
    given, base = os.environ.get("KINO_CACHE", ""), os.environ.get("XDG_CACHE_HOME", "")
    if given:
        return Path(given)
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "kino"


class BucketVersions:
    """`kino.versions.Versions` in a bucket that machines share."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket, self.name = bucket, bucket.name
        place = hashlib.sha256(f"{bucket.url.endpoint}/{bucket.name}".encode()).hexdigest()[:16]
        self.root = cache_folder() / "models" / place

    def components(self) -> list[str]:
        """Return the components that have a version."""
        return sorted({component for component, _ in self._all("")})

    def versions(self, component: str) -> list[str]:
        """Return the versions of a component."""
        return sorted(version for _, version in self._all(f"{component}/"))

    def aliases(self, component: str) -> Records:
        """Return the records of a component's aliases."""
        return BucketRecords(self.bucket, f"{component}/{ALIASES}/")

    def manifest(self, component: str, version: str) -> bytes | None:
        """Return the text of a version's manifest."""
        with suppress(NotFoundError):
            return self.bucket.read(f"{component}/{version}/{MANIFEST_FILE}")[0]
        return None

    def size_bytes(self, component: str, version: str, name: str, digest: str) -> int:
        """Return the size of a version's file."""
        key = f"{component}/{version}/{digest}/{name}"
        try:
            return self.bucket.stat(key).size_bytes
        except NotFoundError:
            raise DamagedError(self.name + key, f"sha256 {digest}", "no file") from None

    def file(self, component: str, version: str, name: str, digest: str) -> Path:
        """Return the path of this machine's copy, fetched where it is missing or altered."""
        path, key = self.root / component / version / name, f"{component}/{version}/{digest}/{name}"
        if path.is_file() and digest_of_file(path) == digest:
            return path
        try:
            fetched = self.bucket.open(key)
        except NotFoundError:
            raise DamagedError(self.name + key, f"sha256 {digest}", "no file") from None
        with fetched, scratch_file(path.parent) as file:
            actual = hashlib.sha256()
            while chunk := fetched.read(_COPY_BYTES):
                actual.update(chunk)
                file.write(chunk)
            if actual.hexdigest() != digest:
                raise DamagedError(self.name + key, f"sha256 {digest}", f"sha256 {actual.hexdigest()}")
            commit(path.parent, file, path.name)
        return path

    def add(self, component: str, version: str, manifest: bytes, files: Mapping[str, Path]) -> bool:
        """Add a version: its files, and last the manifest, which only one publisher can create."""
        for name, path in files.items():
            key = f"{component}/{version}/{digest_of_file(path)}/{name}"
            with path.open("rb") as file:
                self.bucket.upload(key, file, path.stat().st_size, _FILE_TYPE)
        try:
            self.bucket.create(f"{component}/{version}/{MANIFEST_FILE}", manifest)
        except ConflictError:
            return False
        return True

    def attach(
        self, component: str, version: str, files: Mapping[str, bytes], change: Callable[[bytes], bytes]
    ) -> bytes:
        """Add the files, then replace the manifest; raises `ConflictError` if others keep replacing it."""
        folder = f"{component}/{version}"
        for name, content in files.items():
            key = f"{folder}/{hashlib.sha256(content).hexdigest()}/{name}"
            self.bucket.upload(key, io.BytesIO(content), len(content), _FILE_TYPE)
        for attempt in range(_ATTEMPTS):
            before, etag = self.bucket.read(f"{folder}/{MANIFEST_FILE}")
            manifest = change(before)
            try:
                self.bucket.replace(f"{folder}/{MANIFEST_FILE}", manifest, etag)
            except ConflictError:
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                return manifest
        raise AssertionError("the last attempt returns or raises")

    def delete(self, component: str, version: str, held: Callable[[], bool]) -> bool:
        """Remove a version unless it is held; who dies in between leaves files that no manifest names."""
        key = f"{component}/{version}/{MANIFEST_FILE}"
        manifest, _ = self.bucket.read(key)
        self.bucket.delete(key)
        if held():
            with suppress(ConflictError):  # somebody has published it again
                self.bucket.create(key, manifest)
            return False
        for found in list(self.bucket.list(f"{component}/{version}/")):
            self.bucket.delete(found.key)
        return True

    def _all(self, prefix: str) -> list[tuple[str, str]]:
        """Return component and version of every manifest."""
        parts = (found.key.split("/") for found in self.bucket.list(prefix))
        return [
            (names[0], names[1])
            for names in parts
            if len(names) == 3 and names[1] != ALIASES and names[2] == MANIFEST_FILE and all(map(NAME.fullmatch, names))
        ]
