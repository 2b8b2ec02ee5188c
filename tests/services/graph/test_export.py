from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kino.errors import InternalError
from kino.footage import probe, read_video
from kino.images import decode_image
from kino.media import Frames, write_video
from kino.sound import WAV, read_sound, write_sound
from kino.store import Store
from kino.v1 import audio_pb2, graph_pb2, media_pb2, progress_pb2
from services.graph.export import Exporter

FILM, IMAGE = graph_pb2.EXPORT_FORMAT_FILM, graph_pb2.EXPORT_FORMAT_IMAGE


@pytest.fixture
async def exporter(store: Store) -> AsyncIterator[Exporter]:
    made = Exporter(store)
    yield made
    made.close()


@pytest.fixture
def frames() -> Frames:
    """A bright square that moves over a slope: 20 frames, more than one chunk."""
    made = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None] * 2, (20, 32, 48, 3)).copy()
    for index, frame in enumerate(made):
        frame[8:24, index : index + 16] = (200, 60, 40)
    return made


@pytest.fixture
def video(store: Store, tmp_path: Path, frames: Frames) -> media_pb2.Media:
    write_video(tmp_path / "video.mkv", frames, 16, "ffv1")
    return media_pb2.Media(media_type="video/matroska", uri=store.put(tmp_path / "video.mkv", "video/matroska").uri)


async def export(
    exporter: Exporter, video: media_pb2.Media, form: "graph_pb2.ExportFormat.ValueType"
) -> tuple[list[tuple[int, int]], graph_pb2.ExportResponse]:
    steps: list[tuple[int, int]] = []
    response = graph_pb2.ExportResponse()
    async for event in exporter.export(graph_pb2.ExportRequest(video=video, format=form)):
        if isinstance(event, progress_pb2.Progress):
            steps.append((event.step, event.of))
        else:
            assert isinstance(event, graph_pb2.ExportResponse)
            response = event
    return steps, response


async def test_a_film_shows_the_frames_and_its_sheet_sixteen_of_them(
    exporter: Exporter, store: Store, video: media_pb2.Media, frames: Frames
) -> None:
    steps, response = await export(exporter, video, FILM)
    assert steps == [(0, 20), (16, 20), (20, 20)]
    film = store.get(response.media.uri)
    assert film.index(b"moov") < film.index(b"mdat")  # it plays while it loads
    shown, fps = read_video(film)
    assert (shown.shape, int(fps)) == (frames.shape, 16)
    assert np.abs(shown.astype(int) - frames).mean() < 4
    sheet = decode_image(store.get(response.contact_sheet.uri))
    assert sheet.shape == (4 * 32 + 3 * 2, 4 * 48 + 3 * 2, 3)
    np.testing.assert_array_equal(sheet[:32, :48], frames[0])
    np.testing.assert_array_equal(sheet[-32:, -48:], frames[-1])


async def test_a_picture_is_the_first_frame_exactly(
    exporter: Exporter, store: Store, video: media_pb2.Media, frames: Frames
) -> None:
    steps, response = await export(exporter, video, IMAGE)
    assert steps == [(0, 1)]
    np.testing.assert_array_equal(decode_image(store.get(response.media.uri)), frames[0])
    assert not response.HasField("contact_sheet")


async def test_the_same_video_gives_the_same_bytes(exporter: Exporter, video: media_pb2.Media) -> None:
    assert (await export(exporter, video, FILM))[1] == (await export(exporter, video, FILM))[1]


async def test_what_is_no_video_is_refused_and_the_next_export_works(
    exporter: Exporter, video: media_pb2.Media
) -> None:
    with pytest.raises(ValueError, match="unreadable"):
        await export(exporter, media_pb2.Media(media_type="video/mp4", data=b"no film"), FILM)
    with pytest.raises(ValueError, match=r"export\.format"):
        await export(exporter, video, 9)  # type: ignore[arg-type]
    assert (await export(exporter, video, IMAGE))[1].media.uri


def tone(store: Store, folder: Path, samples: int) -> media_pb2.Media:
    wave = (0.3 * np.sin(np.arange(samples) / 20)).astype(np.float32)[None]
    write_sound(folder / "sound.wav", wave)
    return media_pb2.Media(media_type=WAV, uri=store.put(folder / "sound.wav", WAV).uri)


async def scored(exporter: Exporter, **fields: Any) -> graph_pb2.ExportResponse:
    *_, last = [event async for event in exporter.export(graph_pb2.ExportRequest(**fields))]
    assert isinstance(last, graph_pb2.ExportResponse)
    return last


async def test_a_film_has_the_sound_it_was_given_and_passes_its_figures_on(
    exporter: Exporter, store: Store, video: media_pb2.Media, tmp_path: Path
) -> None:
    figures = audio_pb2.SoundFigures(samples=60_000, loudness_lufs=-23, true_peak_dbtp=-6)
    response = await scored(exporter, video=video, sound=tone(store, tmp_path, 60_000), figures=figures)
    film = store.get(response.media.uri)
    assert (probe(film).num_tracks, read_sound(film).shape) == (1, (2, 60_000))
    assert response.figures == figures
    assert response.HasField("contact_sheet")
    silent = await scored(exporter, video=video, figures=figures)
    assert probe(store.get(silent.media.uri)).num_tracks == 0
    assert not silent.HasField("figures")


async def test_a_film_without_a_sound_has_none_even_where_its_video_had(
    exporter: Exporter, store: Store, video: media_pb2.Media, tmp_path: Path
) -> None:
    heard = await scored(exporter, video=video, sound=tone(store, tmp_path, 60_000))
    silent = await scored(exporter, video=heard.media)
    assert probe(store.get(silent.media.uri)).num_tracks == 0


@pytest.mark.parametrize("samples", [59_999, 60_001])
async def test_sound_of_another_length_is_refused(
    exporter: Exporter, store: Store, video: media_pb2.Media, tmp_path: Path, samples: int
) -> None:
    with pytest.raises(ValueError, match=f"sound is {samples} samples long, must be 60000"):
        await scored(exporter, video=video, sound=tone(store, tmp_path, samples))


@pytest.mark.parametrize(
    ("form", "missing"), [("WAV", "sound"), ("COPY", "sound"), ("FILM", "video"), ("IMAGE", "video")]
)
async def test_a_format_without_what_it_needs_is_refused(
    exporter: Exporter, store: Store, video: media_pb2.Media, tmp_path: Path, form: str, missing: str
) -> None:
    both = {"video": video, "sound": tone(store, tmp_path, 60_000)}
    del both[missing]
    with pytest.raises(ValueError, match=f"export.{missing} is '', must be set for this format"):
        await scored(exporter, format=f"EXPORT_FORMAT_{form}", **both)


async def test_a_film_that_is_not_what_was_promised_is_not_given_out(
    exporter: Exporter, store: Store, video: media_pb2.Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = tone(store, tmp_path, 60_000)
    monkeypatch.setattr(
        "services.graph.export.mux", lambda video, sound, path, limits: path.write_bytes(Path(video).read_bytes())
    )
    with pytest.raises(InternalError, match="the film has 0 tracks of sound, must have 1"):
        await scored(exporter, video=video, sound=sound)
