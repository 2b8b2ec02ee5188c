"""Small named values that may change: links from keys to artifacts, aliases of versions."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from kino.files import commit, folder_lock, scratch_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,7}")
_MAX_BYTES = 1 << 20


class ConflictError(Exception):
    """A record no longer holds what its writer had read."""


class Records(Protocol):
    """Small named values (at most 1 MiB) that may change, each written whole or not at all.

    Names are up to eight parts of letters, digits, `.`, `_` and `-` joined by `/`. A name is no folder of another.
    """

    def read(self, name: str) -> bytes | None:
        """Return the value, or None where nothing has that name."""

    def write(self, name: str, value: bytes) -> None:
        """Set the value whatever it was."""

    def swap(self, name: str, expected: bytes | None, value: bytes) -> None:
        """Set the value if it is still `expected` (None: if it is absent), else raise `ConflictError`."""

    def delete(self, name: str) -> None:
        """Forget the value; nothing happens where there is none."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix`, sorted."""


class FolderRecords:
    """`Records` as files under a folder. The folder appears with the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        """Return the value, or None where nothing has that name."""
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def write(self, name: str, value: bytes) -> None:
        """Set the value whatever it was."""
        with self._locked():
            self._replace(name, value)

    def swap(self, name: str, expected: bytes | None, value: bytes) -> None:
        """Set the value if it is still `expected` (None: if it is absent), else raise `ConflictError`."""
        with self._locked():
            found = self.read(name)
            if found != expected:
                raise ConflictError(f"record {name}: holds {found!r:.120}, the writer expected {expected!r:.120}")
            self._replace(name, value)

    def delete(self, name: str) -> None:
        """Forget the value; nothing happens where there is none."""
        with self._locked():
            self._path(name).unlink(missing_ok=True)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix`, sorted."""
        names = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return iter(sorted(name for name in names if name.startswith(prefix) and _NAME.fullmatch(name)))

    def _locked(self) -> AbstractContextManager[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        return folder_lock(self.root)

    def _replace(self, name: str, value: bytes) -> None:
        path = self._path(name)
        check_value(value)
        with scratch_file(self.root) as file:
            file.write(value)
            commit(path.parent, file, path.name)

    def _path(self, name: str) -> Path:
        check_name(name)
        return self.root / name


def check_name(name: str) -> None:
    """Raise ValueError for what is no name of a record."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {name[:120]!r}, must be {_NAME.pattern}")


def check_value(value: bytes) -> None:
    """Raise ValueError for a value that is too long for a record."""
    if len(value) > _MAX_BYTES:
        raise ValueError(f"value is {len(value)} bytes, must be at most {_MAX_BYTES}")
