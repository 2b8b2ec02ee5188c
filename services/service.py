"""What a service is to the process that hosts it.

`services/<name>/service.py` has two public names:

- `create(config: ServiceConfig) -> Service` checks the settings and returns the servicer. It loads no weights and opens
  no file, so it is instant.
- `add_to_server`, the generated function that plugs such a servicer into a gRPC server.

The host opens the port, awaits `start`, turns health to SERVING, and on SIGTERM turns it back, lets the running calls
finish and awaits `stop`. Until `start` has returned, the host answers calls with UNAVAILABLE.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import grpc

from kino.execution import Execution
from kino.store import BucketMissingError, Store, StoreUnavailableError, open_store

NAMES = ("rewriter", "encoder", "generator", "tae", "audio", "editor", "personalizer", "upsampler", "graph")

RUNTIMES = ("auto", "torch", "onnx")
"""What networks can be told to compute by; "auto" is the faster one of the others, see `kino.exported`."""

_PAUSE_SECONDS = 1.0
_log = logging.getLogger("kino.service")


@dataclass(frozen=True)
class ServiceConfig:
    """The settings of one service; each has one flag of `python -m services`.

    Args:
        preset: name of a row of `kino.presets`.
        version: model version or alias in the registry; the name of a preset of random weights is one too.
        store: URL of the artifact store, shared by all services of one graph.
        models: place of the model registry, a folder or an `s3://` URL.
        device: where the networks compute, for example "cpu" or "cuda:0".
        runtime: by what the rewriter, the text towers and the TAE's decoder compute, one of `RUNTIMES`.
        execution: how published text encoders and transformers compute.
        tiled: whether published autoencoders compute pictures in tiles.
        store_patience_seconds: how long a bucket that is not there or does not answer is waited for at the start.
        queue: calls that may wait for the device before further ones are refused, at least 0.
        adapter_mib: the generator alone: most memory of adapters that are kept for further requests, in MiB.
        peers: the graph alone: address of each service it calls, by name.
        ledger: the graph alone: SQLAlchemy URL of its database.
        patience_seconds: the graph alone: about how long it waits for a service that went away while a film was made.
        fetch_urls: whether media may be named by http or https URLs; private addresses are refused all the same.
        endpoint: the rewriter alone: URL of an OpenAI-compatible API that is asked first, up to its version.
        endpoint_model: the rewriter alone: name of the model there.
        endpoint_seconds: the rewriter alone: how long to wait for it.
    """

    preset: str
    version: str
    store: str
    models: str | Path
    device: str = "cpu"
    runtime: str = "auto"
    execution: Execution = field(default_factory=Execution)
    tiled: bool = False
    store_patience_seconds: float = 0.0
    queue: int = 16
    adapter_mib: int = 2048
    peers: Mapping[str, str] = field(default_factory=dict)
    ledger: str = ""
    patience_seconds: float = 10.0
    fetch_urls: bool = False
    endpoint: str = ""
    endpoint_model: str = ""
    endpoint_seconds: float = 20.0

    async def open_store(self) -> Store:
        """Open the artifact store; in a cluster its bucket may come a moment after the services that use it.

        Raises:
            ValueError: the URL is wrong.
            StoreError: the store cannot be used, and no patience helps, or none is left.
        """
        until = time.monotonic() + self.store_patience_seconds
        while True:
            try:
                return await asyncio.to_thread(open_store, self.store)
            except (BucketMissingError, StoreUnavailableError) as error:
                if time.monotonic() > until:
                    raise
                _log.warning("waiting for the store", extra={"error": str(error)})
                await asyncio.sleep(_PAUSE_SECONDS)


@runtime_checkable
class Drains(Protocol):
    """A servicer some of whose calls only wait."""

    def drain(self) -> None:
        """End the calls that wait with UNAVAILABLE, for the process is about to end."""


class Service(Protocol):
    """A servicer with a beginning and an end."""

    async def start(self) -> None:
        """Load what calls need. An error here ends the process."""

    async def stop(self) -> None:
        """Let go of threads, connections and files. No call is running any more."""


@dataclass(frozen=True)
class ServiceModule:
    """The two public names of a service's module, and the service's full name on the wire."""

    name: str
    create: Callable[[ServiceConfig], Service]
    add_to_server: Callable[[Any, grpc.aio.Server], None]

    @property
    def full_name(self) -> str:
        """Name in health checks and reflection, for example "kino.v1.EncoderService"."""
        return f"kino.v1.{self.name.title()}Service"


def load(name: str) -> ServiceModule:
    """Import one service, and with it only what that service needs.

    Raises:
        ValueError: there is no such service.
        ModuleNotFoundError: the extra of the service is not installed.
    """
    if name not in NAMES:
        raise ValueError(f"service is {name!r}, must be one of {', '.join(NAMES)}")
    module = import_module(f"services.{name}.service")
    return ServiceModule(name, module.create, module.add_to_server)
