"""Services in a process of their own beside the command, which the command starts and ends."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from kino.cli_import import services_of
from kino.errors import InternalError, ResourceExhaustedError, UnavailableError, as_kino_error

T = TypeVar("T")
_ROOT = Path(__file__).parents[1]
_END_SECONDS = 90  # more than the services take to drain
_BAD_SETTING, _NO_ROOM = 2, 5  # the services' exit codes for a setting that is wrong, and for too little memory


class LocalServices:
    """A running `python -m services`: `addresses` by service name."""

    def __init__(self, process: asyncio.subprocess.Process, addresses: dict[str, str], log: Path | None) -> None:
        self.process, self.addresses, self.log = process, addresses, log

    async def during(self, work: Awaitable[T]) -> T:
        """Return what `work` returns; raises `UnavailableError` at once when the services end before it does."""
        task, ended = asyncio.ensure_future(work), asyncio.ensure_future(self.process.wait())
        try:
            await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise UnavailableError(f"the services ended with code {ended.result()}{_see(self.log)}")
        finally:
            ended.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def local_services(
    flags: Sequence[str], *, log_to_file: bool, names: Sequence[str] = ("local",)
) -> AsyncIterator[LocalServices]:
    """Start services with `flags` of `python -m services`, and end them afterwards.

    Args:
        names: of the services, or local for all of them.
        log_to_file: whether their log goes to a file, which stays only where something went wrong, or to the terminal.

    Raises:
        InvalidArgumentError: the services refuse a flag.
        InternalError: they cannot start; the message says why.
    """
    log = _log_file() if log_to_file else None
    process = await _spawn([*names, *flags], log)
    broken = False
    try:
        yield LocalServices(process, await _addresses(process, log), log)
    except (InternalError, UnavailableError):
        broken = True
        raise
    finally:
        await _end(process)
        if log is not None and not broken:
            log.unlink()


def flags_of(preset: str | None, models: str | None, data: str | None, model: str | None = None) -> list[str]:
    """Return the flags of `python -m services` for those of a command that were given.

    Raises:
        InvalidArgumentError: there is no such imported model.
    """
    given = {"--preset": preset, "--models": models, "--data": data}
    flags = [text for flag, value in given.items() if value is not None for text in (flag, value)]
    versions = () if model is None else (f"{name}={model}" for name in services_of(model, models))
    return flags + [text for version in versions for text in ("--version", version)]


async def _spawn(arguments: Sequence[str], log: Path | None) -> asyncio.subprocess.Process:
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with nullcontext() if log is None else log.open("wb") as stderr:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services", *arguments, "--stop-on-eof"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the command, which cancels first and ends the services then
        )


async def _addresses(process: asyncio.subprocess.Process, log: Path | None) -> dict[str, str]:
    assert process.stdout is not None
    async for line in process.stdout:
        message = _message(line)
        if "ready" in message:
            return dict(message["ready"])
        if "error" in message and await process.wait() == _BAD_SETTING:
            raise as_kino_error(ValueError(message["error"]))
        if "error" in message and process.returncode == _NO_ROOM:
            raise ResourceExhaustedError(f"the services cannot start: {message['error']}")
        if "error" in message:
            raise InternalError(f"the services cannot start: {message['error']}{_see(log)}")
    raise InternalError(f"the services ended with code {await process.wait()} before they were ready{_see(log)}")


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:  # a library's own chatter
        return {}
    return message if isinstance(message, dict) else {}


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _log_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="kino-services-", suffix=".log")
    os.close(handle)
    return Path(name)


def _see(log: Path | None) -> str:
    return f" (log: {log})" if log is not None else ""
