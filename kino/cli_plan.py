"""`kino models plan`: what a film of an imported model takes of each service, before anything of it is loaded."""

import argparse
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kino.cli_view import print_facts, print_json, print_table
from kino.errors import STORE_ERRORS, FailedPreconditionError, InvalidArgumentError, as_kino_error
from kino.execution import Execution
from kino.families import DTYPES
from kino.limits import MAX_STEPS
from kino.registry import Registry, models_folder

if TYPE_CHECKING:
    from kino.planning import Need, Plan
    from kino.speed import Rates

_GIB = 1 << 30


async def plan(given: argparse.Namespace) -> int:
    """Tell memory and time of each service; what cannot fit is an error."""
    if given.dtype and given.dtype not in DTYPES.values():
        raise InvalidArgumentError("--dtype", given.dtype, f"one of {', '.join(DTYPES.values())}")
    if given.device_memory is not None and not given.device_memory > 0:
        raise InvalidArgumentError("--device-memory", given.device_memory, "more than 0 GiB")
    if given.steps is not None and not 1 <= given.steps <= MAX_STEPS:
        raise InvalidArgumentError("--steps", given.steps, f"from 1 to {MAX_STEPS}")
    try:
        from kino.planning import make_plan  # torch, and libraries that not everybody has
        from kino.speed import Rates
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(f"{error.name} is not installed: it comes with kino's extra pipelines") from None
    try:
        made = make_plan(
            Registry(given.models or models_folder()),
            given.name,
            seconds=given.seconds,
            size=_size(given.size),
            steps=given.steps,
            dtype=given.dtype,
            execution=Execution(given.weights, given.offload),
            tiled=given.tiled,
            device=given.device,
            device_bytes=None if given.device_memory is None else int(given.device_memory * _GIB),
            rates=None if given.flops is None else Rates.stated(given.flops),
        )
    except STORE_ERRORS as error:
        raise as_kino_error(error) from error
    _show(made, given)
    large = [need for need in made.needs if need.device > made.device_bytes]
    if large:
        told = ", ".join(f"the {need.service} takes {_gib(need.device)}" for need in large)
        less = "--dtype bfloat16, --weights int8, --offload layers and --tiled take less"
        raise FailedPreconditionError(
            f"{given.name} does not fit: {told}, {made.device} has {_gib(made.device_bytes)}; {less}"
        )
    return 0


def _size(text: str | None) -> tuple[int, int] | None:
    """Height and width."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII)
    if found is None:
        raise InvalidArgumentError("--size", text, "of the form WIDTHxHEIGHT")
    return int(found[2]), int(found[1])


def _show(made: "Plan", given: argparse.Namespace) -> None:
    rows = [_row(made, need) for need in made.needs]
    film = made.film
    facts: dict[str, Any] = {
        "name": given.name, "frames": film.frames, "height": film.height, "width": film.width, "steps": film.steps,
        "device": made.device, "device_bytes": made.device_bytes, "flops_per_second": asdict(made.rates),
    }  # fmt: skip
    if given.json:
        print_json({**facts, "services": rows})
        return
    length = "a picture" if film.frames == 1 else f"{film.frames} frames"
    size = f"{film.width}x{film.height}, {length}, {film.steps} steps"
    device = f"{made.device} with {_gib(made.device_bytes)}"
    moved = ", without moving weights from the host" if any(need.host for need in made.needs) else ""
    print_facts({"film": size, "device": device, "reckoned at": _speed(made.rates, made.device) + moved})
    columns = ("service", "weights", "in host memory", "work", "in all", "about", "fits")
    shown = [
        (row["service"], _gib(row["weights_bytes"]), _gib(row["host_bytes"]), _gib(row["work_bytes"]),
         _gib(row["device_bytes"]), f"{row['seconds']:.1f} s", "yes" if row["fits"] else "no")
        for row in rows
    ]  # fmt: skip
    print_table(columns, shown)


def _row(made: "Plan", need: "Need") -> dict[str, Any]:
    return {
        "service": need.service,
        "weights_bytes": need.weights,
        "host_bytes": need.host,
        "work_bytes": need.work,
        "device_bytes": need.device,
        "seconds": made.rates.seconds(need.flops),
        "fits": need.device <= made.device_bytes,
    }


def _speed(rates: "Rates", device: str) -> str:
    """In words, for example "62 GFLOP/s in products of matrices, 40 in attention, ..., measured now on cpu"."""
    if not rates.is_measured:
        return f"{_flops(rates.products)}, as stated"
    return (
        f"{_flops(rates.products)} in products of matrices, {_flops(rates.attention)} in attention, "
        f"{_flops(rates.convolutions)} in convolutions, measured now on {device}"
    )


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.3g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.2f} GiB"
