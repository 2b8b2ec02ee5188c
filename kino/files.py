"""Files that appear whole or not at all, whatever dies in between."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullError(OSError):
    """No room is left for what was to be written; nothing of it was kept."""


@contextmanager
def scratch_file(folder: Path) -> Iterator[IO[bytes]]:
    """Yield an empty file in `folder` (made where missing) that is gone at the end unless `commit` gave it a name.

    Raises:
        FullError: the device, the quota or the file size limit was reached while writing.
    """
    with full_is_typed(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".scratch-")
        try:
            os.fchmod(descriptor, 0o644)
            os.close(descriptor)
            with open(name, "wb") as file:
                yield file
        finally:
            Path(name).unlink(missing_ok=True)


@contextmanager
def full_is_typed(folder: Path) -> Iterator[None]:
    """Turn the system's ways of saying that nothing more fits into `FullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and not isinstance(error, FullError):
            raise FullError(error.errno, f"no room left: {error.strerror}", str(folder)) from error
        raise


def commit(folder: Path, file: IO[bytes], name: str) -> None:
    """Give a scratch file its name inside `folder` of the same file system, durably, replacing what had that name."""
    sync_file(file)
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(file.name, folder / name)
    sync_folder(folder)


def sync_file(file: IO[bytes]) -> None:
    """Make what was written to a file durable."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of a folder against other threads and processes; a holder that dies lets go."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
