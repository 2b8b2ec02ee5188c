"""Edits and films of a picture through the graph: every service of random weights behind it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kino.footage import probe, read_video
from kino.images import encode_png
from kino.media import Frames, write_video
from kino.sound import read_sound
from kino.soundtrack import mux
from kino.v1 import editor_pb2, generator_pb2, graph_pb2, info_pb2, media_pb2, tae_pb2
from services.graph.products.text import edge, port
from tests.kino.clips import noise, plain, tone
from tests.services.conftest import Serve, Served
from tests.services.graph.test_sound import make

FEW = generator_pb2.Sampling(steps=2)
SUCCEEDED = graph_pb2.GENERATION_STATE_SUCCEEDED


@pytest.fixture
async def graph(serve: Serve, tmp_path: Path) -> Served:
    peers = {name: (await serve(name)).address for name in ("rewriter", "encoder", "tae", "audio", "editor")}
    return await serve("graph", peers=peers, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")


def media(content: Path | bytes, media_type: str = "video/mp4") -> media_pb2.Media:
    return media_pb2.Media(media_type=media_type, data=content if isinstance(content, bytes) else content.read_bytes())


def clip(folder: Path, frames: Frames | None = None, fps: int = 16, sound: bool = False) -> media_pb2.Media:
    frames = noise(20, 40, 56) if frames is None else frames
    write_video(folder / "clip.mp4", frames, fps, "h264")
    if not sound:
        return media(folder / "clip.mp4")
    mux(folder / "clip.mp4", tone(round(len(frames) / fps * 48_000)), folder / "heard.mp4")
    return media(folder / "heard.mp4")


def edit(video: media_pb2.Media, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"instruction": "turn it into a cat", "seed": 3, "sampling": FEW}
    return {"edit_video": graph_pb2.EditVideo(video=video, **given | fields)}


def animate(picture: media_pb2.Media, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"prompt": "a red ball bounces", "seconds": 0.5, "seed": 3, "sampling": FEW}
    return {"image_to_video": graph_pb2.ImageToVideo(image=picture, **given | fields)}


def picture(height: int = 30, width: int = 70) -> media_pb2.Media:
    return media(encode_png(noise(1, height, width)[0]), "image/png")


def film_of(graph: Served, made: graph_pb2.Generation) -> bytes:
    return graph.store.get(next(artifact.media.uri for artifact in made.artifacts if artifact.name == "film"))


async def test_an_edited_video_is_as_long_as_large_and_as_fast_and_keeps_its_sound(
    graph: Served, tmp_path: Path
) -> None:
    video = clip(tmp_path, noise(37, 40, 56), fps=24, sound=True)
    made = await make(graph, **edit(video))
    assert made.state == SUCCEEDED, made.error
    assert (made.task, made.rewritten_prompt) == (editor_pb2.EDIT_TASK_REPLACE, "replace it with a cat")
    content = film_of(graph, made)
    info = probe(content)
    assert (info.num_frames, info.fps, info.height, info.width) == (37, Fraction(24), 40, 56)
    assert (info.codec, info.num_tracks) == ("h264", 1)
    heard = read_sound(content)
    assert heard.shape == (2, 74_000)
    assert np.corrcoef(heard[0], tone(74_000)[0])[0, 1] > 0.99
    assert [artifact.name for artifact in made.artifacts] == ["film", "contact_sheet"]
    again = await make(graph, **edit(video))
    assert all(stage.cached for stage in again.stages)
    assert [stage.name for stage in made.stages][-1] == "export"


async def test_a_video_without_sound_stays_silent_unless_it_is_asked_for(graph: Served, tmp_path: Path) -> None:
    video = clip(tmp_path)
    assert probe(film_of(graph, await make(graph, **edit(video)))).num_tracks == 0
    made = await make(graph, **edit(video, new_sound=True))
    content = film_of(graph, made)
    assert read_sound(content).shape == (2, 60_000)
    assert probe(content).num_frames == 20
    assert made.artifacts[0].sound.samples == 60_000
    assert [stage.name for stage in made.stages][-2:] == ["sound", "join"]


async def exported(
    graph: Served, folder: Path, source: Frames, edited: Frames, before: Frames, task: int = 0
) -> Frames:
    """What the graph's lossless export makes of a source, an edit and a reconstruction at 16 frames per second."""
    files = {}
    for name, frames in (("video", source), ("edited", edited), ("reconstruction", before)):
        write_video(folder / name, frames, 16, "ffv1")
        files[name] = media(folder / name, "video/matroska")
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_LOSSLESS)
    for name, file in files.items():
        getattr(export, name).CopyFrom(file)
    export.task = task  # type: ignore[assignment]  # a number that no task has is one, too
    pipeline = graph_pb2.Pipeline(nodes=[graph_pb2.PipelineNode(name="export", export=export)])
    pipeline.outputs.add(name="film", source=port("export.media"))
    made = await make(graph, pipeline=pipeline)
    assert made.state == SUCCEEDED, made.error
    shown, fps = read_video(film_of(graph, made))
    assert (shown.shape, float(fps)) == ((len(edited), *source.shape[1:]), 16.0)
    return shown


@pytest.mark.parametrize("task", [editor_pb2.EDIT_TASK_UNSPECIFIED, 99])
async def test_what_the_editor_leaves_alone_keeps_its_pixels(graph: Served, tmp_path: Path, task: int) -> None:
    """An edit and a reconstruction that agree but for one corner: in the lossless export only that corner changes."""
    source, small = noise(8, 90, 120), plain(8, 32, 32, (90, 90, 90))
    changed = small.copy()
    changed[:, :8, :8] = (255, 0, 0)
    shown = await exported(graph, tmp_path, source, changed, small, task)
    np.testing.assert_array_equal(shown[:, 45:], source[:, 45:])
    np.testing.assert_array_equal(shown[:, :, 60:], source[:, :, 60:])
    assert (shown[:, 2:16, 2:20] == (255, 0, 0)).all()


async def test_a_film_begins_with_the_pixels_of_its_still_and_leaves_them_in_a_second(
    graph: Served, tmp_path: Path
) -> None:
    picture, small = noise(1, 90, 120), plain(1, 32, 32, (90, 90, 90))
    moving = small.repeat(20, axis=0)
    moving[:, :8, :8] = (255, 0, 0)
    shown = await exported(graph, tmp_path, picture, moving, small)
    np.testing.assert_array_equal(shown[0, 45:], picture[0, 45:])
    assert (shown[:, 2:16, 2:20] == (255, 0, 0)).all()
    half = (picture[0, 45:].astype(float) + 90) / 2
    assert np.abs(shown[8, 45:] - half).max() <= 1.5
    assert (shown[16:, 45:] == 90).all()


async def test_another_style_is_meant_for_every_pixel(graph: Served, tmp_path: Path) -> None:
    """An edit that is a little lighter all over, less than what another task would take for an edit at all."""
    source, small = noise(8, 90, 120) // 2 + 40, plain(8, 32, 32, (90, 90, 90))
    for task, lighter in ((editor_pb2.EDIT_TASK_PLACE, 0), (editor_pb2.EDIT_TASK_STYLE, 10)):
        shown = await exported(graph, tmp_path, source, small + np.uint8(10), small, task)
        np.testing.assert_array_equal(shown, source + np.uint8(lighter))


async def test_of_an_object_that_goes_nothing_stays_where_the_model_sees_it_late(graph: Served, tmp_path: Path) -> None:
    """A red patch; in every other frame the model sees it elsewhere. Taking it away must take it in all of them."""
    empty = plain(6, 32, 32, (90, 90, 90))
    source, seen = empty.copy(), empty.copy()
    source[:, 8:20, 16:26] = seen[1::2, 8:20, 16:26] = seen[::2, 8:20, 3:13] = (250, 0, 0)
    for task, stays in ((editor_pb2.EDIT_TASK_RECOLOUR, True), (editor_pb2.EDIT_TASK_REMOVE, False),
                        (editor_pb2.EDIT_TASK_REPLACE, False)):  # fmt: skip
        shown = await exported(graph, tmp_path, source, empty, seen, task)
        assert tuple(shown[2, 14, 21]) == ((250, 0, 0) if stays else (90, 90, 90))
        assert tuple(shown[3, 14, 21]) == (90, 90, 90)


async def test_a_picture_comes_to_life_at_the_nearest_aspect(graph: Served) -> None:
    made = await make(graph, **animate(picture()))
    assert made.state == SUCCEEDED, made.error
    content = film_of(graph, made)
    info = probe(content)
    assert (info.num_frames, info.fps, info.height, info.width) == (8, Fraction(16), 16, 64)  # 21:9 of nano
    assert read_sound(content).shape == (2, 24_000)
    assert made.rewritten_prompt == "a red ball spins"  # of what nano knows; no place is made up
    assert "still" in [stage.name for stage in made.stages]
    silent = await make(graph, **animate(picture(70, 30), silent=True, verbatim=True))
    assert probe(film_of(graph, silent)).num_tracks == 0
    assert [stage.name for stage in silent.stages if stage.call == "rewrite"] == []


async def test_a_conformed_video_lasts_as_long_and_is_filled_up(graph: Served, tmp_path: Path) -> None:
    """At 25 frames a second the k-th of 16 shows frame round(k 25 / 16); what is missing of 20 stays as it ended."""
    write_video(tmp_path / "clip", np.concatenate([plain(1, 32, 48, (10 * i, 0, 0)) for i in range(20)]), 25, "ffv1")
    given = graph_pb2.ConformRequest(
        media=media(tmp_path / "clip", "video/matroska"),
        sizes=[info_pb2.Size(height=32, width=32), info_pb2.Size(height=32, width=48)],
        fit=graph_pb2.FIT_STRETCH,
        fps=16,
        min_frames=20,
        max_frames=32,
    )
    pipeline = graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(name="conform", conform=given),
            graph_pb2.PipelineNode(name="look", tae_encode=tae_pb2.TaeServiceEncodeRequest()),
        ],
        edges=[edge("conform.video", "look.video")],
    )
    pipeline.outputs.add(name="film", source=port("conform.video"))
    pipeline.outputs.add(name="latents", source=port("look.latents"))
    shown, fps = read_video(film_of(graph, await make(graph, pipeline=pipeline)))
    assert (shown.shape, float(fps)) == ((20, 32, 48, 3), 16.0)
    expected = [min(19, round(k * 25 / 16)) for k in range(13)] + [19] * 7
    assert [int(frame[0, 0, 0]) // 10 for frame in shown] == expected
