import math
from collections.abc import Collection
from typing import Any, BinaryIO

import pytest

from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.limits import sound_limits
from kino.remote import Remote
from kino.store import Store
from kino.v1 import generator_pb2, graph_pb2, info_pb2, media_pb2, tae_pb2
from services.graph import orders
from services.graph.products.text import Infos
from services.graph.rows import Order
from tests.services.graph import fakes
from tests.services.graph.harness import film


@pytest.fixture
async def infos(store: Store) -> Infos:
    behaviour = fakes.Behaviour()
    servicers: dict[str, Any] = {
        "rewriter": fakes.Rewriter(behaviour),
        "encoder": fakes.Encoder(behaviour, store),
        "generator": fakes.Generator(behaviour, store),
        "tae": fakes.Tae(behaviour, store),
    }
    return {name: (await servicer.Describe(None, None)).info for name, servicer in servicers.items()}


async def order(spec: graph_pb2.GenerationSpec, infos: Infos) -> Order:
    async def describe(needed: Collection[str], welcome: Collection[str]) -> Infos:
        return {name: infos[name] for name in (*needed, *(name for name in welcome if name in infos))}

    return await orders.prepare("key", spec, False, describe)


def image(**fields: Any) -> graph_pb2.GenerationSpec:
    return graph_pb2.GenerationSpec(text_to_image=graph_pb2.TextToImage(prompt="a red ball", **fields))


async def test_a_film_is_five_nodes_with_every_default_filled_in(infos: Infos) -> None:
    made = await order(film(negative_prompt="blur"), infos)
    nodes = {node.name: node for node in made.pipeline.nodes}
    assert list(nodes) == ["rewrite", "encode", "generate", "decode", "export"]
    assert (nodes["rewrite"].rewrite.prompt, nodes["rewrite"].rewrite.seed) == ("a red ball", 7)
    assert (nodes["encode"].encode.negative_prompt, nodes["encode"].encode.fps) == ("blur", fakes.FPS)
    generate = nodes["generate"].generate
    assert (generate.frames, generate.height, generate.width, generate.seed) == (5, 32, 48, 7)
    assert generate.sampling == generator_pb2.Sampling(steps=20, linear_steps=250, guidance=4)
    assert (nodes["decode"].tae_decode.frames, nodes["decode"].tae_decode.fps) == (5, 16)
    assert [output.name for output in made.pipeline.outputs] == ["film", "contact_sheet"]
    assert [stage.name for stage in made.outcome.stages] == list(nodes)


async def test_a_film_hears_its_own_pictures_unless_it_is_silent(infos: Infos) -> None:
    made = await order(film(silent=False), {**infos, "audio": info_pb2.Info(limits=sound_limits("nano"))})
    nodes = {node.name: node for node in made.pipeline.nodes}
    assert [stage.name for stage in made.outcome.stages] == [
        *("rewrite", "encode", "generate", "decode", "sound", "export")
    ]
    sound = nodes["sound"].sound
    assert (sound.seed, sound.description, sound.music) == (7, "", "")
    assert sound.sampling == generator_pb2.Sampling(steps=4, linear_steps=4, guidance=2)
    fed = {f"{edge.target.node}.{edge.target.field}" for edge in made.pipeline.edges}
    assert {"sound.video", "export.video", "export.sound", "export.figures"} <= fed
    with pytest.raises(InvalidArgumentError, match=r"seconds is 0.01, must be from 0.125 to 3 at 16 fps"):
        await order(film(silent=False, seconds=0.01), {**infos, "audio": info_pb2.Info()})


async def test_seconds_become_whole_frames(infos: Infos) -> None:
    for seconds, fps, frames in ((1.0, 16, 16), (0.5, 15, 8), (0.001, 16, 1), (3.0, 16, 48)):
        made = await order(film(seconds=seconds, fps=fps), infos)
        assert made.pipeline.nodes[2].generate.frames == frames


async def test_a_picture_is_one_frame_and_states_no_frame_rate(infos: Infos) -> None:
    made = await order(image(aspect="1:1", verbatim=True), infos)
    nodes = {node.name: node for node in made.pipeline.nodes}
    assert list(nodes) == ["encode", "generate", "decode", "export"]
    assert nodes["encode"].encode.prompt == "a red ball"
    assert not nodes["encode"].encode.HasField("fps")
    assert (nodes["generate"].generate.frames, nodes["generate"].generate.width) == (1, 32)
    assert nodes["export"].export.format == graph_pb2.EXPORT_FORMAT_IMAGE


async def test_an_unset_seed_is_drawn_and_told(infos: Infos) -> None:
    seeds = {(await order(image(), infos)).seed for _ in range(8)}
    assert len(seeds) == 8
    assert (await order(image(seed=0), infos)).seed == 0


SIZE = info_pb2.Size
SAMPLING = generator_pb2.Sampling


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n "}, "prompt"),
        ({"prompt": "a" * 100_000}, "prompt"),
        ({"prompt": "a\x00b"}, "prompt"),
        ({"prompt": "🎈🎈"}, "prompt"),
        ({"negative_prompt": "a\x07b"}, "negative_prompt"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"seconds": math.inf}, "seconds"),
        ({"seconds": 1e308}, "seconds"),
        ({"seconds": 3.1}, "seconds"),
        ({"fps": 0}, "fps"),
        ({"fps": -16}, "fps"),
        ({"fps": 61}, "fps"),
        ({"aspect": "5:1"}, "aspect"),
        ({"aspect": ""}, "aspect"),
        ({"pixels": SIZE()}, "pixels.height"),
        ({"pixels": SIZE(height=32, width=-16)}, "pixels.width"),
        ({"pixels": SIZE(height=33, width=32)}, "pixels.height"),
        ({"pixels": SIZE(height=32, width=80)}, "pixels.width"),
        ({"seed": -1}, "seed"),
        ({"sampling": SAMPLING(steps=0)}, "sampling.steps"),
        ({"sampling": SAMPLING(steps=101)}, "sampling.steps"),
        ({"sampling": SAMPLING(linear_steps=10)}, "sampling.linear_steps"),
        ({"sampling": SAMPLING(linear_steps=1001)}, "sampling.linear_steps"),
        ({"sampling": SAMPLING(guidance=0.5)}, "sampling.guidance"),
        ({"sampling": SAMPLING(guidance=math.nan)}, "sampling.guidance"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_by_name(infos: Infos, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await order(film(**fields), infos)
    assert caught.value.field == f"spec.text_to_video.{named}"


async def test_no_product_is_refused(infos: Infos) -> None:
    with pytest.raises(InvalidArgumentError, match=r"one of text_to_video, .*, upscale_video, pipeline"):
        await order(graph_pb2.GenerationSpec(), infos)


@pytest.mark.parametrize("key", ["", "k" * 129, "ключ", "a\nb"])
def test_malformed_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidArgumentError, match="printable ASCII"):
        orders.check_key(key)


async def test_media_behind_a_url_move_into_the_store_where_that_is_allowed(store: Store) -> None:
    spec = graph_pb2.GenerationSpec()
    video = spec.pipeline.nodes.add(name="encode").tae_encode.video
    video.media_type, video.uri = "video/mp4", "https://films.test/film.mp4"
    with pytest.raises(InvalidArgumentError, match="must be an upload: this deployment fetches no URLs") as refused:
        orders.keep_contents(spec, store)
    assert refused.value.field.endswith("tae_encode.video.uri")
    inside = Remote(allowed=True, resolve=lambda host, port: ["10.0.0.7"])
    with pytest.raises(InvalidArgumentError, match="public"):
        orders.keep_contents(spec, store, inside)
    orders.keep_contents(spec, store, Fetched())
    kept = spec.pipeline.nodes[0].tae_encode.video
    assert (store.get(kept.uri), store.stat(kept.uri).media_type) == (b"film", "video/mp4")


class Fetched(Remote):
    def fetch(self, url: str, file: BinaryIO, field: str = "uri") -> None:
        assert url == "https://films.test/film.mp4"
        file.write(b"film")


async def test_contents_move_into_the_store(store: Store) -> None:
    source = tae_pb2.TaeServiceEncodeRequest()
    source.video.media_type, source.video.data = "video/mp4", b"film"
    spec = graph_pb2.GenerationSpec()
    spec.pipeline.nodes.add(name="encode", tae_encode=source)
    orders.keep_contents(spec, store)
    kept = spec.pipeline.nodes[0].tae_encode.video
    assert store.get(kept.uri) == b"film"
    assert store.stat(kept.uri).media_type == "video/mp4"


def begun(**fields: Any) -> graph_pb2.GenerationSpec:
    picture = media_pb2.Media(media_type="image/png", uri="cas://picture")
    given: dict[str, Any] = {"prompt": "a red ball", "seed": 7, "verbatim": True, "silent": True}
    return graph_pb2.GenerationSpec(image_to_video=graph_pb2.ImageToVideo(image=picture, **given | fields))


def reading(infos: Infos, **reads: Any) -> Infos:
    """The same services, with a generator and an encoder that read pictures."""
    generator, encoder = info_pb2.Info(), info_pb2.Info()
    generator.CopyFrom(infos["generator"])
    generator.abilities.append(info_pb2.ABILITY_IMAGE_TO_VIDEO)
    generator.picture.CopyFrom(info_pb2.PictureReading(**reads))
    encoder.CopyFrom(infos["encoder"])
    encoder.picture.SetInParent()
    return {**infos, "generator": generator, "encoder": encoder}


def edges(made: Order) -> set[str]:
    return {f"{one.source.node}.{one.source.field} {one.target.node}.{one.target.field}" for one in made.pipeline.edges}


async def test_a_generator_that_reads_pictures_begins_films_with_them(infos: Infos) -> None:
    made = await order(begun(), reading(infos, clip=True, drawn=True, crf=33))
    nodes = {node.name: node for node in made.pipeline.nodes}
    assert set(nodes) == {"encode", "picture", "look", "animate", "decode", "export"}
    assert nodes["animate"].WhichOneof("call") == "generate"
    assert (nodes["animate"].generate.frames, nodes["animate"].generate.seed) == (5, 7)
    look = nodes["look"].tae_encode
    assert (look.clip_frames, look.seed, look.crf) == (5, 7, 33)
    assert {(size.height, size.width) for size in nodes["picture"].conform.sizes} == {(32, 48), (32, 32)}
    assert {
        "picture.video encode.picture",
        "look.latents animate.latents",
        "look.latent_space animate.latent_space",
        "look.height animate.height",
        "look.width animate.width",
    } <= edges(made)


async def test_of_a_picture_is_encoded_what_the_generator_reads(infos: Infos) -> None:
    made = await order(begun(pixels=info_pb2.Size(height=16, width=64)), reading(infos))
    nodes = {node.name: node for node in made.pipeline.nodes}
    look = nodes["look"].tae_encode
    assert (look.clip_frames, look.HasField("seed"), look.crf) == (0, False, 0)
    assert [(size.height, size.width) for size in nodes["picture"].conform.sizes] == [(16, 64)]


async def test_a_film_that_no_model_can_begin_is_refused(infos: Infos) -> None:
    with pytest.raises(FailedPreconditionError, match=r"no model of this graph begins films with a picture"):
        await order(begun(), infos)
    with pytest.raises(InvalidArgumentError, match=r"source_guidance is 2.0, must be left out: the model has no such"):
        await order(begun(source_guidance=2.0), reading(infos))
    alone = reading(infos)
    with pytest.raises(InvalidArgumentError, match=r"spec.text_to_video .* the model begins with a picture"):
        await order(film(verbatim=True), alone)
