"""`kino sound`: a video in and the same video with its sound out, or words in and a sound out."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from kino.cli_again import flags_again, program
from kino.cli_files import check_video, media_type
from kino.cli_film import Made, account, check, make, tell_facts, writable, write
from kino.cli_view import StageBars, as_json, describe_sound, print_json
from kino.client_async import AsyncKino
from kino.client_specs import SOUND_FORMS, sound_for_video, text_to_sound
from kino.errors import InvalidArgumentError
from kino.limits import MIN_SOUND_FRAMES, SOUND
from kino.media import LONG_VIDEOS
from kino.v1.graph_pb2 import Generation

_SAMPLING = ("seed", "steps", "linear_steps", "guidance")
_OPTIONS = ("prompt", "music", "seconds", *_SAMPLING)
_SERVICES = ("audio", "graph")
_MAX_SECONDS = max(limits.max_seconds for limits in SOUND.values())


async def sound(given: argparse.Namespace) -> int:
    """Write a video with its sound, or a sound, and tell how it came about."""
    options = {name: value for name in _SAMPLING if (value := getattr(given, name)) is not None}
    options |= {
        field: value for field, value in (("description", given.prompt), ("music", given.music)) if value is not None
    }
    made = await (_alone(given, options) if given.video is None else _of_video(given, options))
    _tell(given, made)
    return 0


async def _of_video(given: argparse.Namespace, options: dict[str, Any]) -> Made:
    video = Path(given.video)
    if given.seconds is not None:
        raise InvalidArgumentError("--seconds", given.seconds, "left out where a video says how long it is")
    check_video(video, "VIDEO", LONG_VIDEOS, _MAX_SECONDS, MIN_SOUND_FRAMES)
    given.out = given.out or f"{video.stem}-sound.mp4"
    out = writable(given.out, video)
    if out.suffix.lower() != ".mp4":
        raise InvalidArgumentError("--out", given.out, "a name that ends in .mp4")
    kind = media_type(video, "video", "video/mp4")
    check(given, sound_for_video("", kind, **options))

    async def order(kino: AsyncKino, bars: StageBars) -> Generation:
        made = await kino.add_sound(video, kind, fresh=given.fresh, on_change=bars.show, **options)
        write(out, made.data)
        return made.generation

    return await make(given, order, {"film": out}, _SERVICES)


async def _alone(given: argparse.Namespace, options: dict[str, Any]) -> Made:
    if given.prompt is None and given.music is None:
        raise InvalidArgumentError("VIDEO", "", "given, or --prompt or --music in its place")
    given.out = given.out or "sound.wav"
    out = writable(given.out)
    options["form"] = out.suffix.lower().removeprefix(".")
    if options["form"] not in SOUND_FORMS:
        bound = f"a name that ends in {', '.join(f'.{form}' for form in SOUND_FORMS)}"
        raise InvalidArgumentError("--out", given.out, bound)
    if given.seconds is not None:
        options["seconds"] = given.seconds
    check(given, text_to_sound(**options))

    async def order(kino: AsyncKino, bars: StageBars) -> Generation:
        made = await kino.sound(fresh=given.fresh, on_change=bars.show, **options)
        write(out, made.data)
        return made.generation

    return await make(given, order, {"sound": out}, _SERVICES)


def _tell(given: argparse.Namespace, made: Made) -> None:
    figures = made.generation.artifacts[0].sound
    named = [] if given.video is None else [given.video]
    command = shlex.join([program(), "sound", *named, *flags_again(given, _OPTIONS, made.generation.seed)])
    if given.json:
        files = {name: str(path) for name, path in made.files.items()}
        print_json({"id": made.generation.id, **files, "figures": as_json(figures), **account(made, command)})
        return
    facts = {"video": given.video or "", "prompt": given.prompt or "", "music": given.music or ""}
    tell_facts(made, facts | {"heard": describe_sound(figures)}, command)
