"""Full HD through the graph: every service of random weights behind it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kino.errors import InvalidArgumentError
from kino.footage import probe
from kino.limits import clip_limits, generator_limits, upsampler_limits
from kino.media import write_video
from kino.sound import read_sound
from kino.v1 import generator_pb2, graph_pb2, info_pb2, media_pb2, upsampler_pb2
from services.graph.products import text_to_video, upscale_video
from services.graph.products.text import edge, port
from tests.kino.clips import noise, tone
from tests.services.conftest import Serve, Served
from tests.services.graph.test_edit import clip, film_of
from tests.services.graph.test_sound import make

FEW = generator_pb2.Sampling(steps=1)
SUCCEEDED = graph_pb2.GENERATION_STATE_SUCCEEDED
INFOS = {
    "generator": info_pb2.Info(limits=generator_limits("nano")),
    "tae": info_pb2.Info(limits=clip_limits("nano")),
    "encoder": info_pb2.Info(),
    "upsampler": info_pb2.Info(limits=upsampler_limits("nano")),
}


@pytest.fixture
async def graph(serve: Serve, tmp_path: Path) -> Served:
    names = ("rewriter", "encoder", "generator", "tae", "audio", "upsampler")
    peers = {name: (await serve(name)).address for name in names}
    return await serve("graph", peers=peers, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")


def film(**fields: Any) -> graph_pb2.TextToVideo:
    given: dict[str, Any] = {"prompt": "a blue fish", "verbatim": True, "silent": True, "sampling": FEW, "seed": 3}
    return graph_pb2.TextToVideo(**given | fields)


def upsample_of(product: graph_pb2.TextToVideo) -> upsampler_pb2.UpsampleRequest:
    made = text_to_video.expand(product, "spec.text_to_video", INFOS, 3)
    return next(node.upsample for node in made.nodes if node.name == "upsample")


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        ("1:1", (1080, 1080)),
        ("16:9", (1080, 1920)),
        ("9:16", (1920, 1080)),
        ("4:3", (1080, 1440)),
        ("21:9", (822, 1920)),
    ],
)
def test_a_named_aspect_is_full_hd_to_the_pixel(aspect: str, size: tuple[int, int]) -> None:
    asked = upsample_of(film(quality=graph_pb2.QUALITY_HD, aspect=aspect)).size
    assert (asked.height, asked.width) == size


def test_a_size_in_pixels_keeps_its_own_aspect() -> None:
    product = film(quality=graph_pb2.QUALITY_HD, pixels=info_pb2.Size(height=32, width=48))
    assert not upsample_of(product).HasField("size")


def test_only_films_in_full_hd_need_the_upsampler() -> None:
    assert "upsampler" in text_to_video.components(film(quality=graph_pb2.QUALITY_HD))
    for quality in (graph_pb2.QUALITY_UNSPECIFIED, graph_pb2.QUALITY_STANDARD):
        assert "upsampler" not in text_to_video.components(film(quality=quality))
        made = text_to_video.expand(film(quality=quality), "spec.text_to_video", INFOS, 3)
        assert edge("decode.video", "export.video") in made.edges


def test_a_quality_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="quality is 7, must be STANDARD or HD"):
        text_to_video.expand(film(quality=7), "spec.text_to_video", INFOS, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "spec.upscale_video.video"),
        ({"video": media_pb2.Media(media_type="image/png", data=b"x")}, "video.media_type is 'image/png'"),
        ({"video": media_pb2.Media(media_type="video/mp4", data=b"x"), "steps": 51}, "steps is 51"),
    ],
)
def test_upscaling_beyond_the_bounds_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        upscale_video.expand(graph_pb2.UpscaleVideo(**fields), "spec.upscale_video", INFOS, 3)


async def test_a_film_in_full_hd_has_its_sound_and_its_sheet(graph: Served) -> None:
    product = film(quality=graph_pb2.QUALITY_HD, silent=False, seconds=0.125)
    made = await make(graph, text_to_video=product)
    assert made.state == SUCCEEDED, made.error
    info = probe(film_of(graph, made))
    assert (info.num_frames, info.height, info.width, info.num_tracks) == (2, 1080, 1080, 1)
    assert [artifact.name for artifact in made.artifacts] == ["film", "contact_sheet"]
    stages = {stage.name: stage for stage in made.stages}
    assert (stages["upsample"].call, stages["upsample"].state) == ("upsample", graph_pb2.STAGE_STATE_SUCCEEDED)
    assert stages["upsample"].step == stages["upsample"].of > 1


async def test_a_video_in_full_hd_keeps_length_rate_and_sound(graph: Served, tmp_path: Path) -> None:
    video = clip(tmp_path, noise(3, 36, 64), fps=24, sound=True)
    made = await make(graph, upscale_video=graph_pb2.UpscaleVideo(video=video, seed=1, steps=1))
    assert made.state == SUCCEEDED, made.error
    content = film_of(graph, made)
    info = probe(content)
    assert (info.num_frames, info.fps, info.height, info.width) == (3, Fraction(24), 1080, 1920)
    heard = read_sound(content)
    assert heard.shape == (2, 6000)
    assert np.corrcoef(heard[0], tone(6000)[0])[0, 1] > 0.99


async def test_a_silent_video_stays_silent(graph: Served, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", noise(1, 18, 32), 16, "ffv1")
    video = media_pb2.Media(media_type="video/matroska", data=(tmp_path / "clip.mkv").read_bytes())
    made = await make(graph, upscale_video=graph_pb2.UpscaleVideo(video=video, steps=1))
    assert made.state == SUCCEEDED, made.error
    assert probe(film_of(graph, made)).num_tracks == 0


async def test_the_upsampler_joins_a_pipeline_of_the_clients(graph: Served, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", noise(2, 24, 32), 16, "ffv1")
    video = media_pb2.Media(media_type="video/matroska", data=(tmp_path / "clip.mkv").read_bytes())
    size = info_pb2.Size(height=48, width=64)
    pipeline = graph_pb2.Pipeline(edges=[edge("large.video", "file.video")])
    pipeline.nodes.add(name="large", upsample=upsampler_pb2.UpsampleRequest(video=video, size=size))
    pipeline.nodes.add(name="file", export=graph_pb2.ExportRequest())
    pipeline.outputs.add(name="film", source=port("file.media"))
    made = await make(graph, pipeline=pipeline)
    assert made.state == SUCCEEDED, made.error
    info = probe(film_of(graph, made))
    assert (info.num_frames, info.height, info.width) == (2, 48, 64)


async def test_what_is_no_video_fails_with_the_field(graph: Served) -> None:
    video = media_pb2.Media(media_type="video/mp4", data=b"no video")
    made = await make(graph, upscale_video=graph_pb2.UpscaleVideo(video=video))
    assert made.state == graph_pb2.GENERATION_STATE_FAILED
    assert "video is unreadable" in made.error.message
