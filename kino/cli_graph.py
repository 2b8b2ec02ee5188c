"""Commands that ask a running graph: `kino status` and `kino generations`."""

import argparse
import sys
from pathlib import Path

from google.protobuf.json_format import Parse, ParseError

from kino.cli_film import order_options, read_prompt
from kino.cli_view import StageBars, as_json, print_facts, print_json, print_table, stage_state, state_of
from kino.client_async import AsyncKino
from kino.client_specs import text_to_image, text_to_video
from kino.errors import CallCancelledError, InvalidArgumentError, from_status
from kino.v1 import graph_pb2
from kino.v1.graph_pb2 import Generation

DEFAULT_ADDRESS = "127.0.0.1:7000"
_UNAVAILABLE = 3
_SUFFIXES = {"video/mp4": ".mp4", "image/png": ".png", "video/matroska": ".mkv"}


def connect(given: argparse.Namespace) -> AsyncKino:
    """Return a client of the graph that a command names, or of the one that `kino serve` starts."""
    return AsyncKino(given.address or DEFAULT_ADDRESS, by_links=True)


async def status(given: argparse.Namespace) -> int:
    """Show the parts of a graph; the exit code says whether all of them answer."""
    async with connect(given) as kino:
        description = await kino.describe()
    if given.json:
        print_json(as_json(description))
    else:
        rows = []
        for part in description.parts:
            info = part.info
            served = (info.version, info.preset, info.device, info.runtime)
            rows.append((part.component, part.address, _condition(part), *served))
        print_table(("service", "address", "state", "version", "preset", "device", "runtime"), rows)
    return 0 if all(part.info.ready for part in description.parts) else _UNAVAILABLE


async def create(given: argparse.Namespace) -> int:
    """Ask for a generation and print its id."""
    spec = _spec(given)
    async with connect(given) as kino:
        generation = await kino.generations.create(spec, idempotency_key=given.key, fresh=given.fresh)
    if given.json:
        print_json(as_json(generation))
    else:
        print(generation.id)
    return 0


async def link(given: argparse.Namespace) -> int:
    """Print a link to an artifact."""
    async with connect(given) as kino:
        found = await kino.artifacts.link(given.uri, given.seconds)
    if given.json:
        print_json({"uri": given.uri, "url": found.url, "expires": found.expires.isoformat(timespec="seconds")})
    else:
        print(found.url)
    return 0


async def get(given: argparse.Namespace) -> int:
    """Show a generation."""
    async with connect(given) as kino:
        generation = await kino.generations.get(given.id)
        await _save(kino, generation, given.out)
    _show(given, generation)
    return 0


async def watch(given: argparse.Namespace) -> int:
    """Follow a generation to its end; its failure is the command's."""
    bars, generation = StageBars(), Generation()
    async with connect(given) as kino:
        with bars.shown():
            async for generation in kino.generations.watch(given.id):
                if given.json:
                    print_json(as_json(generation))
                else:
                    bars.show(generation)
        await _save(kino, generation, given.out)
    if generation.state == graph_pb2.GENERATION_STATE_FAILED:
        raise from_status(generation.error)
    if generation.state == graph_pb2.GENERATION_STATE_CANCELLED:
        raise CallCancelledError(f"generation {generation.id} was cancelled")
    if not given.json:
        _show(given, generation)
    return 0


async def cancel(given: argparse.Namespace) -> int:
    """Cancel a generation and show how it ended."""
    async with connect(given) as kino:
        generation = await kino.generations.cancel(given.id)
    _show(given, generation)
    return 0


async def delete(given: argparse.Namespace) -> int:
    """Forget a generation."""
    async with connect(given) as kino:
        await kino.generations.delete(given.id)
    if given.json:
        print_json({"deleted": given.id})
    return 0


async def list_generations(given: argparse.Namespace) -> int:
    """Show generations, newest first."""
    if given.limit < 1:
        raise InvalidArgumentError("--limit", given.limit, "at least 1")
    states = [graph_pb2.GenerationState.Value(f"GENERATION_STATE_{state.upper()}") for state in given.state]
    generations: list[Generation] = []
    async with connect(given) as kino:
        async for generation in kino.generations.list(states=states, page_size=min(given.limit, 1000)):
            generations.append(generation)
            if len(generations) == given.limit:
                break
    if given.json:
        print_json([as_json(generation) for generation in generations])
    else:
        rows = [
            (entry.id, state_of(entry), f"{entry.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}", _order(entry))
            for entry in generations
        ]
        print_table(("id", "state", "created (UTC)", "order"), rows)
    return 0


def _spec(given: argparse.Namespace) -> graph_pb2.GenerationSpec:
    options = order_options(given)
    if given.pipeline is None:
        return (text_to_image if given.image else text_to_video)(read_prompt(given), **options)
    if given.prompt is not None or given.image or options:
        raise InvalidArgumentError("--pipeline", given.pipeline, "given without a prompt and its options")
    text = sys.stdin.read() if given.pipeline == "-" else Path(given.pipeline).read_text(encoding="utf-8")
    try:
        return graph_pb2.GenerationSpec(pipeline=Parse(text, graph_pb2.Pipeline()))
    except ParseError as error:
        raise InvalidArgumentError("--pipeline", given.pipeline, f"JSON of a kino.v1.Pipeline: {error}") from None


async def _save(kino: AsyncKino, generation: Generation, folder: str | None) -> None:
    if folder is None:
        return
    for artifact in generation.artifacts:
        path = Path(folder) / (artifact.name + _SUFFIXES.get(artifact.media.media_type, ".bin"))
        path.write_bytes(await kino.artifacts.download(artifact.media.uri))


def _show(given: argparse.Namespace, generation: Generation) -> None:
    if given.json:
        print_json(as_json(generation))
        return
    facts = {"id": generation.id, "state": state_of(generation), "order": _order(generation)}
    facts |= {"rewritten": generation.rewritten_prompt}
    facts |= {"not shown": "; ".join(wish.reason for wish in generation.substitutions)}
    facts |= {"stand-in rewriter": generation.rewriter_fallback_reason}
    facts |= {"seed": str(generation.seed), "error": generation.error.message}
    facts |= {
        stage.name: f"{stage_state(stage)}  {stage.step}/{stage.of}  {stage.seconds:.1f} s"
        for stage in generation.stages
    }
    facts |= {artifact.name: artifact.media.uri for artifact in generation.artifacts}
    print_facts({name: value for name, value in facts.items() if value})


def _order(generation: Generation) -> str:
    spec = generation.spec
    if spec.WhichOneof("product") == "pipeline":
        return f"pipeline of {len(spec.pipeline.nodes)} nodes"
    return spec.text_to_video.prompt or spec.text_to_image.prompt


def _condition(part: graph_pb2.Part) -> str:
    if part.error:
        return part.error
    return "ready" if part.info.ready else "not ready"
