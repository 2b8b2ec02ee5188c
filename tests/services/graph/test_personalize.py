"""Films of the person of a picture through the graph: every service of random weights behind it."""

import asyncio
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kino.errors import InvalidArgumentError, from_status
from kino.footage import probe
from kino.images import PNG, encode_png
from kino.sound import read_sound
from kino.v1 import encoder_pb2, generator_pb2, graph_pb2, info_pb2, media_pb2, personalizer_pb2, tae_pb2
from kino.v1.graph_pb2_grpc import GraphServiceStub
from services.graph.products.text import edge, port
from tests.people import ANOTHER, picture
from tests.services.conftest import Serve, Served
from tests.services.graph.test_edit import film_of
from tests.services.graph.test_sound import create, make

FEW = generator_pb2.Sampling(steps=2)


async def anew(graph: Served, **product: Any) -> graph_pb2.Generation:
    """Return the generation at its end, computed anew."""
    stub, spec = GraphServiceStub(graph.channel), graph_pb2.GenerationSpec(**product)
    request = graph_pb2.CreateGenerationRequest(idempotency_key=uuid4().hex, spec=spec, fresh=True)
    made = (await stub.CreateGeneration(request)).generation
    async for response in stub.WatchGeneration(graph_pb2.WatchGenerationRequest(id=made.id)):
        made = response.generation
    return made


@pytest.fixture
async def graph(serve: Serve, tmp_path: Path) -> Served:
    peers = {name: (await serve(name)).address for name in ("rewriter", "encoder", "tae", "audio", "personalizer")}
    return await serve("graph", peers=peers, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")


def portrait(people: int = 1) -> media_pb2.Media:
    return media_pb2.Media(media_type=PNG, data=encode_png(picture(people)))


def film(image: media_pb2.Media | None = None, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"prompt": "she spins in the snow", "seconds": 0.5, "seed": 3, "sampling": FEW}
    product = graph_pb2.PersonalizeVideo(**{"image": image or portrait()} | given | fields)
    return {"personalize_video": product}


async def test_a_film_of_a_picture_has_its_sound_and_is_made_once(graph: Served) -> None:
    made = await make(graph, **film(pixels=info_pb2.Size(height=32, width=48)))
    assert made.state == graph_pb2.GENERATION_STATE_SUCCEEDED, made.error
    content = film_of(graph, made)
    info = probe(content)
    assert (info.num_frames, info.fps, info.height, info.width) == (8, Fraction(16), 32, 48)
    assert read_sound(content).shape == (2, 24_000)
    assert made.rewritten_prompt.startswith("a person in a")
    assert made.rewritten_prompt.endswith("dress spins in the snow")
    stages = {stage.name for stage in made.stages}
    assert stages == {"rewrite", "encode", "identify", "personalize", "decode", "sound", "export"}
    again = await make(graph, **film(pixels=info_pb2.Size(height=32, width=48)))
    assert all(stage.cached for stage in again.stages)


async def test_a_silent_verbatim_film_leaves_rewriter_and_sound_out(graph: Served) -> None:
    made = await make(graph, **film(silent=True, verbatim=True))
    assert {stage.name for stage in made.stages} == {"encode", "identify", "personalize", "decode", "export"}
    assert probe(film_of(graph, made)).num_tracks == 0


async def test_films_of_two_pictures_at_once_are_those_of_each_alone(graph: Served) -> None:
    other = media_pb2.Media(media_type=PNG, data=encode_png(picture(1, ANOTHER)))
    asked = [film(image, verbatim=True, silent=True) for image in (portrait(), other)]
    together = [film_of(graph, made) for made in await asyncio.gather(*(anew(graph, **spec) for spec in asked))]
    alone = [film_of(graph, await anew(graph, **spec)) for spec in asked]
    assert together == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize(("people", "told"), [(0, "of nobody that is known"), (2, "of 2 people")])
async def test_a_picture_of_nobody_or_of_two_fails_with_the_field(graph: Served, people: int, told: str) -> None:
    made = await make(graph, **film(portrait(people), silent=True))
    assert made.state == graph_pb2.GENERATION_STATE_FAILED
    error = from_status(made.error)
    assert isinstance(error, InvalidArgumentError)
    assert error.field.endswith("image")
    assert f"a picture {told}" in error.message
    states = {stage.name: stage.state for stage in made.stages}
    assert states["identify"] == graph_pb2.STAGE_STATE_FAILED


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"image": media_pb2.Media(media_type="image/png")}, "spec.personalize_video.image"),
        ({"image": media_pb2.Media(media_type="text/plain", data=b"she")}, "spec.personalize_video.image.media_type"),
        ({"prompt": " "}, "spec.personalize_video.prompt"),
        ({"seconds": -1.0}, "spec.personalize_video.seconds"),
        ({"aspect": "5:4"}, "spec.personalize_video.aspect"),
        ({"sampling": generator_pb2.Sampling(steps=0)}, "spec.personalize_video.sampling.steps"),
    ],
)
async def test_an_order_out_of_bounds_is_refused_at_once(graph: Served, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await create(graph, **film(**fields))
    assert refused.value.field == field


async def test_a_pipeline_of_ones_own_may_name_the_person(graph: Served) -> None:
    pipeline = graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(name="who", identify=personalizer_pb2.IdentifyRequest(image=portrait())),
            graph_pb2.PipelineNode(name="text", encode=encoder_pb2.EncodeRequest(prompt="she spins", fps=16)),
            graph_pb2.PipelineNode(
                name="film",
                personalize=personalizer_pb2.PersonalizeRequest(frames=1, height=32, width=32, sampling=FEW),
            ),
            graph_pb2.PipelineNode(name="picture", tae_decode=tae_pb2.TaeServiceDecodeRequest(frames=1)),
        ],
        edges=[
            edge("who.identity", "film.identity"),
            edge("text.embeddings", "film.embeddings"),
            edge("text.unconditional", "film.unconditional"),
            edge("film.latents", "picture.latents"),
        ],
    )
    pipeline.outputs.add(name="picture", source=port("picture.video"))
    made = await make(graph, pipeline=pipeline)
    assert made.state == graph_pb2.GENERATION_STATE_SUCCEEDED, made.error
    assert [artifact.name for artifact in made.artifacts] == ["picture"]
