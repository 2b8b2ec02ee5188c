"""`kino film` and `kino image`: a sentence in, files out."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kino import bounds, validate
from kino.cli_adapters import weights_of
from kino.cli_again import LOCAL, flags_again, program
from kino.cli_files import check_picture, media_type
from kino.cli_import import check_model
from kino.cli_local import flags_of, local_services
from kino.cli_view import StageBars, as_json, describe_sound, print_facts, print_json
from kino.client_async import AsyncKino
from kino.client_specs import image_to_video, personalize_video, text_to_image, text_to_video
from kino.errors import InvalidArgumentError
from kino.limits import VIDEO
from kino.v1.graph_pb2 import Generation, GenerationSpec

_OPTIONS = (
    *("seconds", "fps", "aspect", "size", "seed", "steps", "linear_steps", "guidance", "negative_prompt", "verbatim"),
    *("silent", "quality", "adapter"),
)
_OF_PICTURES = ("image", "source_guidance", "identity")
_PICTURES = ("rewriter", "encoder", "generator", "tae", "graph")  # the services of everything silent
_IMPORTED = ("encoder", "generator", "tae", "graph")
_ANIMATED = ("rewriter", "encoder", "tae", "editor", "graph")
_PERSONAL = ("rewriter", "encoder", "personalizer", "tae", "graph")


@dataclass(frozen=True)
class Made:
    """What a command wrote, the generation behind it, and how long everything took."""

    generation: Generation
    files: dict[str, Path]
    start_seconds: float
    total_seconds: float


Order = Callable[[AsyncKino, StageBars], Awaitable[Generation]]


async def film(given: argparse.Namespace) -> int:
    """Write a film and its contact sheet, and tell how they came about."""
    prompt, options = read_prompt(given), order_options(given)
    picture = _picture(given, prompt, options)
    person = _person(given, prompt, options)
    if picture is None and person is None:
        check(given, text_to_video(prompt, **options))
    out, sheet = film_files(given.out, *(source for source in (picture, person) if source is not None))

    async def order(kino: AsyncKino, bars: StageBars) -> Generation:
        told: dict[str, Any] = {"fresh": given.fresh, "on_change": bars.show, **options}
        if person is not None:
            made = await kino.personalize(person, prompt, media_type(person, "image", "image/png"), **told)
        elif picture is not None:
            made = await kino.animate(picture, prompt, media_type(picture, "image", "image/png"), **told)
        else:
            made = await kino.film(prompt, **told)
        write(out, made.video)
        write(sheet, made.contact_sheet)
        return made.generation

    own = _PERSONAL if person is not None else _PICTURES if picture is None else _ANIMATED
    names = _services(given, own) if given.silent else (*_services(given, own), "audio")
    names = (*names, "upsampler") if given.quality == "hd" else names
    made = await make(given, order, {"film": out, "contact_sheet": sheet}, names)
    figures = next(artifact.sound for artifact in made.generation.artifacts if artifact.name == "film")
    heard = "left out, as --no-sound asks" if given.silent else describe_sound(figures)
    _tell(given, prompt, made, {"sound": heard}, {"figures": None if given.silent else as_json(figures)})
    return 0


def _picture(given: argparse.Namespace, prompt: str, options: dict[str, Any]) -> Path | None:
    """Return the picture that the film is to begin with, if any, once it is known to be one and the order to be sound.

    Its options are those of a film but for the size, which follows the picture.
    """
    if given.image is None:
        if given.source_guidance is not None:
            raise InvalidArgumentError("--source-guidance", given.source_guidance, "left out without --image")
        return None
    for name in ("aspect", "size"):
        if name in options and given.model is None:
            raise InvalidArgumentError(f"--{name}", options[name], "left out where a picture gives the aspect")
    if given.source_guidance is not None:
        options["source_guidance"] = given.source_guidance
    picture = Path(given.image)
    check(given, image_to_video("", media_type(picture, "image", "image/png"), prompt, **options))
    check_picture(picture, "--image")
    return picture


def _person(given: argparse.Namespace, prompt: str, options: dict[str, Any]) -> Path | None:
    """Return the picture of the person of the film, if any, once it is known to be one and the order to be sound."""
    if given.identity is None:
        return None
    if given.image is not None:
        raise InvalidArgumentError("--identity", given.identity, "left out where the film begins with a picture")
    picture = Path(given.identity)
    check(given, personalize_video("", media_type(picture, "image", "image/png"), prompt, **options))
    check_picture(picture, "--identity")
    return picture


def film_files(path: str, *sources: Path) -> tuple[Path, Path]:
    """Return where a film goes, and its contact sheet beside it: over none of the files that it is made of."""
    out = writable(path, *sources)
    sheet = out.with_suffix(".png")
    if sheet == out:
        raise InvalidArgumentError("--out", path, "a name that does not end in .png, as the contact sheet's does")
    _spare(sheet, path, sources)
    return out, sheet


async def image(given: argparse.Namespace) -> int:
    """Write a picture, and tell how it came about."""
    prompt, options = read_prompt(given), order_options(given)
    check(given, text_to_image(prompt, **options))
    out = writable(given.out)

    async def order(kino: AsyncKino, bars: StageBars) -> Generation:
        made = await kino.image(prompt, fresh=given.fresh, on_change=bars.show, **options)
        write(out, made.png)
        return made.generation

    _tell(given, prompt, await make(given, order, {"image": out}, _services(given)), {}, {})
    return 0


def _services(given: argparse.Namespace, own: tuple[str, ...] = _PICTURES) -> tuple[str, ...]:
    """Return the services that pictures of a sentence need: another's model gets the prompt as it is."""
    return own if given.model is None else _IMPORTED


def read_prompt(given: argparse.Namespace) -> str:
    """Return the prompt of a command: its argument, standard input for "-", or `$KINO_PROMPT`."""
    prompt = given.prompt if given.prompt is not None else os.environ.get("KINO_PROMPT")
    if prompt is None:
        raise InvalidArgumentError("PROMPT", "", "given, as an argument or in KINO_PROMPT")
    if prompt == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").strip()
    if not prompt.isascii() and any("\udc80" <= character <= "\udcff" for character in prompt):
        raise InvalidArgumentError("prompt", prompt.encode("utf-8", "surrogateescape"), "valid UTF-8")
    return validate.prompt(prompt)


def order_options(given: argparse.Namespace) -> dict[str, Any]:
    """Return what a command says beside the prompt; what it leaves out is the served model's own value."""
    options = {name: value for name in _OPTIONS if (value := getattr(given, name, None)) is not None}
    if "adapter" in options:
        options["adapters"] = weights_of(options.pop("adapter"))
    if getattr(given, "model", None) is not None:
        options["verbatim"] = True
    if "size" in options:
        width, separator, height = options["size"].lower().partition("x")
        if not (separator and width.isdecimal() and height.isdecimal()):
            raise InvalidArgumentError("--size", options["size"], "of the form WIDTHxHEIGHT")
        options["size"] = (int(height), int(width))
    return options


def check(given: argparse.Namespace, spec: GenerationSpec) -> None:
    """Refuse what services on this machine would refuse, before they are started."""
    if given.address is not None:
        return
    if getattr(given, "model", None) is None:
        bounds.check(spec, validate.one_of(given.preset or "mini", "--preset", tuple(VIDEO)))
    else:
        check_model(spec, given.model, given.models)


async def make(
    given: argparse.Namespace, order: Order, files: dict[str, Path], names: Sequence[str] = ("local",)
) -> Made:
    """Carry out an order at the graph that the command names, or at services that run as long as the command.

    Args:
        names: of those services, or local for all of them.
    """
    began, bars = time.monotonic(), StageBars()
    if given.address is not None:
        for name in LOCAL:
            if getattr(given, name, None) is not None:
                raise InvalidArgumentError(f"--{name}", getattr(given, name), "left out where a running graph is named")
        with bars.shown():
            async with AsyncKino(given.address, by_links=True) as kino:
                generation = await order(kino, bars)
        return Made(generation, files, 0.0, time.monotonic() - began)
    flags = ["--drain-seconds", "1", *flags_of(*(getattr(given, name, None) for name in LOCAL))]
    with bars.shown():
        finish_start = bars.begin("start")
        async with local_services(flags, log_to_file=True, names=names) as services:
            start_seconds = finish_start()
            async with AsyncKino(services.addresses["graph"]) as kino:
                generation = await services.during(order(kino, bars))
            total_seconds = time.monotonic() - began
    return Made(generation, files, start_seconds, total_seconds)


def writable(path: str, *sources: Path) -> Path:
    """Return the path of a file that may be written, and is none of these; refused now, not when the film is ready."""
    out = Path(path)
    if not out.parent.is_dir():
        raise InvalidArgumentError("--out", path, f"in a folder that exists; {out.parent} does not")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise InvalidArgumentError("--out", path, "a file that may be written")
    _spare(out, path, sources)
    return out


def _spare(file: Path, path: str, sources: Sequence[Path]) -> None:
    """Refuse to write over a file that is given."""
    if file.exists() and any(file.samefile(source) for source in sources):
        raise InvalidArgumentError("--out", path, f"another name: {file} is given, and would be written over")


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _tell(given: argparse.Namespace, prompt: str, made: Made, facts: dict[str, str], values: dict[str, Any]) -> None:
    """Print what was made, with further `facts` for people or `values` for scripts."""
    generation = made.generation
    files = {name: str(path) for name, path in made.files.items()}
    command = shlex.join(_command(given, prompt, generation.seed))
    if given.json:
        told = {
            "id": generation.id,
            **files,
            "prompt": prompt,
            "rewritten_prompt": generation.rewritten_prompt,
            "substitutions": [
                {"asked": wish.asked, "drawn": wish.drawn, "reason": wish.reason} for wish in generation.substitutions
            ],
            "rewriter_fallback_reason": generation.rewriter_fallback_reason,
            **values,
            **account(made, command),
        }
        print_json(told)
        return
    facts = {"prompt": prompt, "rewritten": generation.rewritten_prompt, **facts}
    facts |= {"not shown": "; ".join(wish.reason for wish in generation.substitutions)}
    facts |= {"stand-in rewriter": generation.rewriter_fallback_reason}
    tell_facts(made, facts, command)


def account(made: Made, command: str) -> dict[str, Any]:
    """Return how an order came about, as JSON for scripts tells it."""
    return {
        "seed": made.generation.seed,
        "stages": [
            {"name": stage.name, "seconds": stage.seconds, "steps": stage.of, "stored": stage.cached}
            for stage in made.generation.stages
        ],
        "start_seconds": round(made.start_seconds, 3),
        "total_seconds": round(made.total_seconds, 3),
        "command": command,
    }


def tell_facts(made: Made, facts: dict[str, str], command: str) -> None:
    """Print what was made, and how it came about; empty facts are left out."""
    stages = {"start": made.start_seconds} if made.start_seconds else {}
    stages |= {stage.name: stage.seconds for stage in made.generation.stages}
    facts |= {"seed": str(made.generation.seed)}
    facts |= {"times": ", ".join(f"{name} {value:.1f} s" for name, value in stages.items())}
    facts |= {"in all": f"{made.total_seconds:.1f} s", **{name: str(path) for name, path in made.files.items()}}
    facts |= {"again": command}
    print_facts({name.replace("_", " "): value for name, value in facts.items() if value})


def _command(given: argparse.Namespace, prompt: str, seed: int) -> list[str]:
    """Return the command that makes the same again."""
    command = [program(), "image" if given.command.endswith("image") else "film"]
    command += flags_again(given, (*_OPTIONS, *(() if command[1] == "image" else _OF_PICTURES)), seed)
    return [*command, "--", prompt] if prompt.startswith("-") else [*command, prompt]
