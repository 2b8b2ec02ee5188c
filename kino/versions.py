"""Where a registry keeps its versions: in a folder here, in a bucket in `kino.bucket_versions`.

A folder of versions lies on disk as::

    models/<component>/<version>/manifest.json      what it is: see `kino.manifest`
    models/<component>/<version>/model.safetensors  the weights, and further files such as vocab.json and card.md
    models/<component>/<version>/model.onnx         the network as a graph over these weights: see `kino.exported`
    models/<component>/<version>/<part>/...         the parts of a published pipeline: see `kino.families`
    models/<component>/aliases/<alias>              the name of a version, and those it stood for before
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from kino.files import commit, folder_lock, full_is_typed, scratch_file, sync_folder
from kino.records import FolderRecords, Records
from kino.store import DamagedError, NotFoundError

MANIFEST_FILE = "manifest.json"
ALIASES = "aliases"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Versions(Protocol):
    """The files of versions and the records of aliases. All names have been checked; a manifest is text here."""

    name: str
    """What messages call it."""
    root: Path
    """Where on this machine `file` has its files, as `<component>/<version>/<name>`."""

    def components(self) -> list[str]:
        """Return the names of all components, sorted."""

    def versions(self, component: str) -> list[str]:
        """Return the versions of a component that are whole, sorted."""

    def aliases(self, component: str) -> Records:
        """Return the records of a component's aliases."""

    def manifest(self, component: str, version: str) -> bytes | None:
        """Return the text of a version's manifest, None where there is no such version."""

    def size_bytes(self, component: str, version: str, name: str, digest: str) -> int:
        """Return the size of a file of a version; `DamagedError` where there is none."""

    def file(self, component: str, version: str, name: str, digest: str) -> Path:
        """Return a file of a version on this machine, verified; `DamagedError` where it is not of the digest."""

    def add(self, component: str, version: str, manifest: bytes, files: Mapping[str, Path]) -> bool:
        """Add a version, whole or not at all, and return True; False where it exists, whatever it holds.

        Raises:
            kino.files.FullError: no room is left.
        """

    def attach(
        self, component: str, version: str, files: Mapping[str, bytes], change: Callable[[bytes], bytes]
    ) -> bytes:
        """Add files to a version that exists, or replace them, and return its manifest as `change` makes it.

        Raises:
            kino.files.FullError: no room is left.
        """

    def delete(self, component: str, version: str, held: Callable[[], bool]) -> bool:
        """Remove a version, its manifest first, and return True.

        Once nobody finds the version any more, `held` is asked whether somebody came to need it meanwhile: then it is
        put back, and False is returned. Raises `NotFoundError` where somebody else has removed it.
        """


class FolderVersions:
    """`Versions` in a folder that processes share. Reading needs no permission to write."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, str(root)

    def components(self) -> list[str]:
        """Return the names of all components."""
        return _folders(self.root)

    def versions(self, component: str) -> list[str]:
        """Return the versions of a component."""
        folder = self.root / component
        return [name for name in _folders(folder) if (folder / name / MANIFEST_FILE).is_file()]

    def aliases(self, component: str) -> Records:
        """Return the records of a component's aliases."""
        return FolderRecords(self.root / component / ALIASES)

    def manifest(self, component: str, version: str) -> bytes | None:
        """Return the text of a version's manifest."""
        try:
            return (self.root / component / version / MANIFEST_FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size_bytes(self, component: str, version: str, name: str, digest: str) -> int:
        """Return the size of a version's file."""
        path = self.root / component / version / name
        try:
            return path.stat().st_size
        except FileNotFoundError:
            raise DamagedError(str(path), f"sha256 {digest}", "no file") from None

    def file(self, component: str, version: str, name: str, digest: str) -> Path:
        """Return the path of a version's file, verified."""
        path = self.root / component / version / name
        actual = digest_of_file(path) if path.is_file() else None
        if actual != digest:
            raise DamagedError(str(path), f"sha256 {digest}", f"sha256 {actual}" if actual else "no file")
        return path

    def add(self, component: str, version: str, manifest: bytes, files: Mapping[str, Path]) -> bool:
        """Add a version by giving a whole folder its name."""
        folder = self.root / component
        with full_is_typed(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".publishing-") as scratch:
                staged = Path(scratch) / "staged"
                _stage(staged, manifest, files)
                with folder_lock(folder):
                    if (folder / version).exists():
                        return False
                    os.rename(staged, folder / version)
                    sync_folder(folder)
        return True

    def attach(
        self, component: str, version: str, files: Mapping[str, bytes], change: Callable[[bytes], bytes]
    ) -> bytes:
        """Write the files, then the manifest; who dies in between leaves a file that `file` refuses."""
        folder = self.root / component / version
        with folder_lock(folder.parent):
            manifest = change((folder / MANIFEST_FILE).read_bytes())
            for target, written in (*files.items(), (MANIFEST_FILE, manifest)):
                with scratch_file(folder) as file:
                    file.write(written)
                    commit(folder, file, target)
        return manifest

    def delete(self, component: str, version: str, held: Callable[[], bool]) -> bool:
        """Remove a version unless it is held."""
        folder = self.root / component
        with folder_lock(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".deleting-") as scratch:
            if not (folder / version).exists():
                raise NotFoundError(f"{component} has no version {version!r} any more")
            os.rename(folder / version, Path(scratch) / version)
            if held():
                os.rename(Path(scratch) / version, folder / version)
                return False
            sync_folder(folder)
        return True


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stage(folder: Path, manifest: bytes, files: Mapping[str, Path]) -> None:
    """Write a whole version into a new folder, durably."""
    folder.mkdir(mode=0o755)
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    (folder / MANIFEST_FILE).write_bytes(manifest)
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name))
