"""What people bring to be edited or brought to life: odd files go through, bad ones are refused with the reason."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kino.errors import InvalidArgumentError, from_status
from kino.footage import probe
from kino.images import encode_png
from kino.sound import read_sound
from kino.v1 import generator_pb2, graph_pb2, media_pb2
from tests.kino.clips import noise, tone
from tests.odd_videos import BAD, ODD, RATES, three_tracks, upright
from tests.services.conftest import Serve, Served
from tests.services.graph.test_edit import animate, edit, film_of, media, picture
from tests.services.graph.test_sound import create, make

SUCCEEDED, FAILED = graph_pb2.GENERATION_STATE_SUCCEEDED, graph_pb2.GENERATION_STATE_FAILED
ONE = generator_pb2.Sampling(steps=1)


@pytest.fixture
async def graph(serve: Serve, tmp_path: Path) -> Served:
    peers = {name: (await serve(name)).address for name in ("rewriter", "encoder", "tae", "editor")}
    return await serve("graph", peers=peers, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")


async def test_odd_videos_are_edited_and_stay_as_they_are(graph: Served, tmp_path: Path) -> None:
    """H.264 has even sides alone: an odd one gains a pixel."""
    for name, (write, (num_frames, height, width)) in ODD.items():
        content = write(tmp_path)
        made = await make(graph, **edit(media(content), sampling=ONE))
        assert made.state == SUCCEEDED, (name, made.error)
        before, after = probe(content), probe(film_of(graph, made))
        assert (after.num_frames, after.height, after.width) == (num_frames, height, width), name
        assert (after.num_frames, after.fps) == (before.num_frames, before.fps), name


async def test_of_three_tracks_the_first_is_kept(graph: Served, tmp_path: Path) -> None:
    made = await make(graph, **edit(media(three_tracks(tmp_path)), sampling=ONE))
    heard = read_sound(film_of(graph, made))
    assert heard.shape == (2, 9600)
    assert np.corrcoef(heard[0], tone(9600, hertz=220.0)[0])[0, 1] > 0.99


async def test_bad_videos_fail_with_the_reason_and_the_next_one_is_edited(graph: Served, tmp_path: Path) -> None:
    too_long = {"longer than the limit": (lambda to: upright(to, 17, 1), "video is '17 s', must be at most 16 s long")}
    for name, (write, message) in (BAD | RATES | too_long).items():
        made = await make(graph, **edit(media(write(tmp_path)), sampling=ONE))
        assert made.state == FAILED, name
        error = from_status(made.error)
        assert isinstance(error, InvalidArgumentError), name
        assert message in error.message, name
        assert "must" in error.message, name
    assert (await make(graph, **edit(media(upright(tmp_path)), sampling=ONE))).state == SUCCEEDED


def image(form: str, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, form)
    return file.getvalue()


def animation() -> bytes:
    file = io.BytesIO()
    first, second = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    first.save(file, "webp", save_all=True, append_images=[second], lossless=True)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG whose head says 20,000 by 20,000 pixels."""
    head = (20_000).to_bytes(4) * 2 + b"\x08\x02\x00\x00\x00"
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + len(head).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + image("png")[33:]


async def test_odd_pictures_come_to_life(graph: Served) -> None:
    pictures = {"CMYK": (image("jpeg", "CMYK"), "image/jpeg"), "animated": (animation(), "image/webp")}
    pictures |= {"1x1": (image("png", size=(1, 1)), "image/png")}
    for name, (content, media_type) in pictures.items():
        made = await make(graph, **animate(media(content, media_type), silent=True, sampling=ONE))
        assert made.state == SUCCEEDED, (name, made.error)
        assert probe(film_of(graph, made)).num_frames == 8, name


async def test_bad_pictures_fail_with_the_reason(graph: Served) -> None:
    for name, content in {"text": b"no picture", "bomb": bomb(), "half": image("png", size=(99, 99))[:60]}.items():
        made = await make(graph, **animate(media(content, "image/png"), silent=True, sampling=ONE))
        assert made.state == FAILED, name
        error = from_status(made.error)
        assert isinstance(error, InvalidArgumentError), name
        assert "image is" in error.message, name
        assert "must be" in error.message, name


VIDEO = media_pb2.Media(media_type="video/mp4", data=b"anything")


@pytest.mark.parametrize(
    ("product", "field"),
    [
        (edit(VIDEO, instruction=""), "instruction"),
        (edit(VIDEO, instruction="the ball"), "instruction"),
        (edit(VIDEO, instruction="make it better"), "instruction"),
        (edit(VIDEO, instruction="remove the ball" * 1000), "instruction"),
        (edit(VIDEO, source_guidance=0.5), "source_guidance"),
        (edit(VIDEO, seed=-1), "seed"),
        (edit(VIDEO, sampling=generator_pb2.Sampling(steps=0)), "sampling.steps"),
        (edit(media_pb2.Media()), "video"),
        (edit(media(encode_png(noise(1, 8, 8)[0]), "image/png")), "video.media_type"),
        (edit(media_pb2.Media(media_type="video/mp4", uri="http://127.0.0.1/a.mp4")), "video.uri"),
        (edit(media_pb2.Media(media_type="video/mp4", uri="https://example.org/a.mp4")), "video.uri"),
        (animate(media_pb2.Media()), "image"),
        (animate(VIDEO), "image.media_type"),
        (animate(media_pb2.Media(media_type="image/png", uri="http://10.0.0.1/a.png")), "image.uri"),
        (animate(picture(), prompt=" "), "prompt"),
        (animate(picture(), seconds=0.0), "seconds"),
        (animate(picture(), fps=0), "fps"),
        (animate(picture(), source_guidance=float("nan")), "source_guidance"),
    ],
)
async def test_an_order_that_cannot_be_made_is_refused_at_once(
    serve: Serve, tmp_path: Path, product: dict[str, Any], field: str
) -> None:
    peers = {name: (await serve(name)).address for name in ("rewriter", "encoder", "tae", "audio", "editor")}
    graph = await serve("graph", peers=peers, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")
    with pytest.raises(InvalidArgumentError) as refused:
        await create(graph, **product)
    (kind,) = product
    assert refused.value.field == f"spec.{kind}.{field}"
    assert refused.value.bound
