"""`kino edit`: a video and an instruction in, the edited video out."""

import argparse
import shlex
from pathlib import Path

from kino.cli_again import flags_again, program
from kino.cli_files import check_video, media_type
from kino.cli_film import account, check, film_files, make, tell_facts, write
from kino.cli_view import StageBars, as_json, describe_sound, print_json
from kino.client_async import AsyncKino
from kino.client_specs import edit_video
from kino.errors import InvalidArgumentError
from kino.limits import VIDEO, editor_limits
from kino.media import EDITED_VIDEOS
from kino.v1.editor_pb2 import EditTask
from kino.v1.graph_pb2 import Generation

_OPTIONS = ("seed", "steps", "linear_steps", "guidance", "source_guidance", "new_sound")
_SERVICES = ("encoder", "tae", "editor", "graph")


async def edit(given: argparse.Namespace) -> int:
    """Write an edited video and its contact sheet, and tell what was understood."""
    options = {name: value for name in _OPTIONS if (value := getattr(given, name)) is not None}
    video = Path(given.video)
    kind = media_type(video, "video", "video/mp4")
    check(given, edit_video("", kind, given.instruction, **options))
    preset = given.preset if given.preset in VIDEO else "mini"
    info = check_video(video, "VIDEO", EDITED_VIDEOS, editor_limits(preset).seconds.maximum)
    given.out = given.out or f"{video.stem}-edited.mp4"
    out, sheet = film_files(given.out, video)
    if out.suffix.lower() != ".mp4":
        raise InvalidArgumentError("--out", given.out, "a name that ends in .mp4")

    async def order(kino: AsyncKino, bars: StageBars) -> Generation:
        made = await kino.edit(video, given.instruction, kind, fresh=given.fresh, on_change=bars.show, **options)
        write(out, made.video)
        write(sheet, made.contact_sheet)
        return made.generation

    names = (*_SERVICES, "audio") if given.new_sound else _SERVICES
    made = await make(given, order, {"film": out, "contact_sheet": sheet}, names)
    generation = made.generation
    task = EditTask.Name(generation.task).removeprefix("EDIT_TASK_").lower()
    figures = next(artifact.sound for artifact in generation.artifacts if artifact.name == "film")
    again = flags_again(given, _OPTIONS, generation.seed)
    command = shlex.join([program(), "edit", given.video, given.instruction, *again])
    if given.json:
        files = {name: str(path) for name, path in made.files.items()}
        understood = {"task": task, "understood": generation.rewritten_prompt}
        sound = {"figures": as_json(figures) if given.new_sound else None}
        print_json({"id": generation.id, **files, **understood, **sound, **account(made, command)})
        return 0
    kept = "as it was" if info.num_tracks else "none, as before"
    facts = {"video": given.video, "instruction": given.instruction}
    facts |= {"understood": f"{task}: {generation.rewritten_prompt}"}
    tell_facts(made, facts | {"sound": describe_sound(figures) if given.new_sound else kept}, command)
    return 0
