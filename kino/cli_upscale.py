"""`kino upscale`: a video in, the same video in full HD out."""

import argparse
import shlex
from pathlib import Path

from kino.cli_again import flags_again, program
from kino.cli_files import check_video, media_type
from kino.cli_film import account, check, film_files, make, tell_facts, write
from kino.cli_view import StageBars, print_json
from kino.client_async import AsyncKino
from kino.client_specs import upscale_video
from kino.errors import InvalidArgumentError
from kino.limits import MIN_UPSAMPLED_SIDE
from kino.media import UPSAMPLED_VIDEOS, VideoInfo
from kino.shapes import Size, full_hd
from kino.v1.graph_pb2 import Generation

_OPTIONS = ("seed", "steps")
_SERVICES = ("upsampler", "graph")


async def upscale(given: argparse.Namespace) -> int:
    """Write a video in full HD and its contact sheet, and tell how they came about."""
    options = {name: value for name in _OPTIONS if (value := getattr(given, name)) is not None}
    video = Path(given.video)
    kind = media_type(video, "video", "video/mp4")
    check(given, upscale_video("", kind, **options))
    info = check_video(video, "VIDEO", UPSAMPLED_VIDEOS, UPSAMPLED_VIDEOS.max_frames)
    size = _size(info, given.video)
    given.out = given.out or f"{video.stem}-hd.mp4"
    out, sheet = film_files(given.out, video)
    if out.suffix.lower() != ".mp4":
        raise InvalidArgumentError("--out", given.out, "a name that ends in .mp4")

    async def order(kino: AsyncKino, bars: StageBars) -> Generation:
        made = await kino.upscale(video, kind, fresh=given.fresh, on_change=bars.show, **options)
        write(out, made.video)
        write(sheet, made.contact_sheet)
        return made.generation

    made = await make(given, order, {"film": out, "contact_sheet": sheet}, _SERVICES)
    again = flags_again(given, _OPTIONS, made.generation.seed)
    command = shlex.join([program(), "upscale", given.video, *again])
    if given.json:
        files = {name: str(path) for name, path in made.files.items()}
        print_json({"id": made.generation.id, **files, "size": [size.width, size.height], **account(made, command)})
        return 0
    facts = {"video": f"{given.video}, {info.width}x{info.height}", "size": f"{size.width}x{size.height}"}
    tell_facts(made, facts | {"sound": "as it was" if info.num_tracks else "none, as before"}, command)
    return 0


def _size(info: VideoInfo, name: str) -> Size:
    """Return what a video is brought to, once it is known to be smaller and large enough."""
    size, shown = full_hd(info.height, info.width), f"{info.width}x{info.height}"
    if min(info.height, info.width) < MIN_UPSAMPLED_SIDE:
        bound = f"a video of at least {MIN_UPSAMPLED_SIDE} pixels a side"
        raise InvalidArgumentError("VIDEO", name, bound, message=f"VIDEO is {shown}, must be {bound}")
    if info.height >= size.height or info.width >= size.width:
        bound = f"smaller than full HD, {size.width}x{size.height}"
        raise InvalidArgumentError("VIDEO", name, bound, message=f"VIDEO is {shown}, must be {bound}")
    return size
