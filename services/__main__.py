"""Starts services: `python -m services NAME...`, or `python -m services local` for all of them on one machine.

Standard output gets one line of JSON: `{"ready": {"encoder": "127.0.0.1:7002", ...}}` once every service serves, or
`{"error": "..."}` when one cannot start. Logs go to standard error.

Exit codes: 0 told to end and drained, 2 a setting is wrong, 4 cannot start, 5 has not the memory to start.
"""

import argparse
import asyncio
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kino.execution import OFFLOADS, WEIGHTS, Execution
from kino.registry import models_folder
from kino.store import NotFoundError, StoreError
from kino.telemetry import start_logging
from services import host, local
from services.service import NAMES, RUNTIMES, ServiceConfig

OK, BAD_INPUT, FAILED, NO_ROOM = 0, 2, 4, 5
_log = logging.getLogger("kino.host")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end, and return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        start_logging("-".join(name.partition("=")[0] for name in given.names), given.log_level)
        asyncio.run(host.run(_plan(given), _announce, given.stop_on_eof))
    except (ValueError, NotFoundError) as error:
        return _refuse(BAD_INPUT, str(error), error)
    except ModuleNotFoundError as error:
        return _refuse(
            FAILED,
            f"{error.name} is not installed: a service needs kino's extra of its own name, adopted models hf, "
            "--runtime onnx the extra onnx, s3:// the extra s3",
            error,
        )
    except OSError as error:
        text = error.strerror or str(error)
        return _refuse(FAILED, f"{error.filename}: {text}" if error.filename else text, error)
    except MemoryError as error:
        return _refuse(NO_ROOM, str(error), error)
    except StoreError as error:
        return _refuse(FAILED, str(error), error)
    except Exception as error:  # noqa: BLE001 - the last place that can say why the process ends; the log has the traceback
        return _refuse(FAILED, f"{type(error).__name__}: {error}", error)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME[=PORT]", help=f"{', '.join(NAMES)}; or local for all of them")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add(
        "--port", type=int, default=0, help="of the first service; the others follow it. 0: any free ones (%(default)s)"
    )
    add("--preset", default="mini", help="row of kino.presets (%(default)s)")
    add(
        "--version",
        action="append",
        default=[],
        metavar="[NAME=]VERSION",
        help="model version or alias (the preset's name)",
    )
    add("--models", default=models_folder(), metavar="PLACE", help="registry: a folder or s3://bucket (%(default)s)")
    add("--data", type=Path, default=local.data_folder(), metavar="PATH", help="home of store and ledger (%(default)s)")
    add("--store", metavar="URL", help="artifact store, shared by every service of a graph (DATA/store)")
    add("--ledger", metavar="URL", help="SQLAlchemy URL of the graph's ledger (SQLite in DATA)")
    add("--peer", action="append", default=[], metavar="NAME=HOST:PORT", help="a service the graph calls elsewhere")
    add("--endpoint", default="", metavar="URL", help="OpenAI-compatible API that rewrites prompts (the model here)")
    add("--endpoint-model", default="", metavar="NAME", help="model to ask for there; its key: $KINO_ENDPOINT_KEY")
    add("--endpoint-seconds", type=float, default=20.0, help="how long to wait for it (%(default)s)")
    add("--patience-seconds", type=float, default=10.0, help="how long films wait for services gone away (%(default)s)")
    add("--fetch-urls", action="store_true", help="take media by http and https URLs from public addresses")
    add("--ray", action="store_true", help="run the graph on Ray Serve")
    add("--device", default="cpu", help="where the networks compute (%(default)s)")
    add("--runtime", default="auto", help="auto, torch or onnx: by what rewriter, towers and TAE compute (%(default)s)")
    add("--weights", default="", help=f"{', '.join(WEIGHTS[1:])}: of published encoders and transformers (their own)")
    add("--offload", default="", help=f"{', '.join(OFFLOADS[1:])}: keep those in host memory while others compute")
    add("--compile", action="store_true", help="compile published transformers at first use")
    add("--tiled", action="store_true", help="let published autoencoders compute pictures in tiles, in less memory")
    add("--cache", type=float, default=0.0, help="take what changed less than this from the step before (%(default)s)")
    add(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="requests of one shape that the generator computes at once (1)",
    )
    add("--queue", type=int, default=16, help="calls that may wait for the device (%(default)s)")
    add("--store-patience-seconds", type=float, default=0.0, help="how long to wait for a bucket at the start (none)")
    add("--adapter-mib", type=int, default=2048, metavar="N", help="memory of the generator's adapters (%(default)s)")
    add("--reload-seconds", type=float, default=0.0, help="how often to look for a moved alias; 0: never (%(default)s)")
    add("--metrics-port", type=int, help="Prometheus metrics over HTTP; 0: any free port (none)")
    add("--drain-seconds", type=float, default=20.0, help="how long calls may go on once told to end (%(default)s)")
    add("--log-level", default="info", help="debug, info, warning or error (%(default)s)")
    add(
        "--stop-on-eof", action="store_true", help="end when standard input ends, as with the process that started this"
    )
    return parser


def _plan(given: argparse.Namespace) -> host.Plan:
    versions = dict(_pair(text, "--version") if "=" in text else ("", text) for text in given.version)
    peers = dict(_pair(text, "--peer") for text in given.peer)
    _check_names([name for name in (*versions, *peers) if name])
    if given.queue < 0:
        raise ValueError(f"--queue is {given.queue}, must be at least 0")
    if given.adapter_mib < 0:
        raise ValueError(f"--adapter-mib is {given.adapter_mib}, must be at least 0")
    if given.runtime not in RUNTIMES:
        raise ValueError(f"--runtime is {given.runtime!r}, must be one of {', '.join(RUNTIMES)}")
    if not (math.isfinite(given.drain_seconds) and given.drain_seconds >= 0):
        raise ValueError(f"--drain-seconds is {given.drain_seconds}, must be at least 0")
    if not (math.isfinite(given.reload_seconds) and given.reload_seconds >= 0):
        raise ValueError(f"--reload-seconds is {given.reload_seconds}, must be at least 0")
    if not (math.isfinite(given.patience_seconds) and given.patience_seconds >= 0):
        raise ValueError(f"--patience-seconds is {given.patience_seconds}, must be at least 0")
    if not (math.isfinite(given.store_patience_seconds) and given.store_patience_seconds >= 0):
        raise ValueError(f"--store-patience-seconds is {given.store_patience_seconds}, must be at least 0")
    if given.metrics_port is not None:
        _port(str(given.metrics_port), "--metrics-port")
    ports, data = _ports(given.names, given.port), given.data.resolve()
    if given.ray and "graph" not in ports:
        raise ValueError(f"--ray is given for {', '.join(ports)}, must be given for the graph")
    config = ServiceConfig(
        preset=given.preset,
        version=versions.pop("", given.preset),
        store=given.store or str(data / "store"),
        models=given.models,
        device=given.device,
        runtime=given.runtime,
        tiled=given.tiled,
        execution=Execution(given.weights, given.offload, given.compile, given.cache, given.batch),
        store_patience_seconds=given.store_patience_seconds,
        queue=given.queue,
        adapter_mib=given.adapter_mib,
        peers=peers,
        ledger=given.ledger or local.ledger_url(data),
        patience_seconds=given.patience_seconds,
        fetch_urls=given.fetch_urls,
        endpoint=given.endpoint,
        endpoint_model=given.endpoint_model,
        endpoint_seconds=given.endpoint_seconds,
    )
    return host.Plan(
        ports,
        config,
        versions,
        given.host,
        given.metrics_port,
        given.drain_seconds,
        given.ray,
        given.reload_seconds,
    )


def _ports(names: Sequence[str], first: int) -> Mapping[str, int]:
    _port(str(first), "--port")
    if list(names) == ["local"]:
        return local.ports(first)
    ports: dict[str, int] = {}
    for number, text in enumerate(names):
        name, separator, port = text.partition("=")
        _check_names([name])
        if name in ports:
            raise ValueError(f"NAME is {name!r} twice, must be named once")
        ports[name] = _port(port, name) if separator else first and _port(str(first + number), "--port")
    return ports


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in NAMES:
            raise ValueError(f"service is {name!r}, must be one of {', '.join(NAMES)}; or local alone")


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise ValueError(f"{flag} is {text!r}, must be of the form NAME=VALUE")
    return name, value


def _port(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError(f"port of {field} is {text!r}, must be from 0 to 65535")
    return int(text)


def _announce(addresses: Mapping[str, str]) -> None:
    print(json.dumps({"ready": dict(addresses)}), flush=True)


def _refuse(code: int, message: str, error: Exception) -> int:
    _log.error(message, exc_info=error if code == FAILED else None)
    print(json.dumps({"error": message}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
