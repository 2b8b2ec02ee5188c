import numpy as np
import pytest
import torch

from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.weights import seeded_init
from tests.kino.clips import noise
from training.data import to_pixels, to_signed
from training.editing import composed, kept_still, psnr


@torch.inference_mode()
def test_a_composed_edit_keeps_the_source_where_the_model_left_it_alone() -> None:
    """A film that is the reconstruction but for one corner: far from the corner the source shows, in it the film."""
    tae = TAE(PRESETS["nano"].tae)
    seeded_init(tae)
    clip = noise(8, 64, 64)
    film = to_pixels(tae.decode(tae.encode(to_signed(clip[None])), 8))[0].copy()
    film[:, :16, :16] = 255 - film[:, :16, :16]
    film[:, :16, :16] = np.where(film[:, :16, :16] > 127, 255, 0)
    unedited = to_pixels(tae.decode(tae.encode(to_signed(clip[None])), 8))
    (shown,) = composed([clip], [film], ["recolour"], tae)
    np.testing.assert_array_equal(shown[:, 32:], clip[:, 32:])
    np.testing.assert_array_equal(shown[:, :, 32:], clip[:, :, 32:])
    (same,) = composed([clip], unedited, ["recolour"], tae)
    np.testing.assert_array_equal(same, clip)


@torch.inference_mode()
def test_a_film_begins_with_the_pixels_of_its_picture_where_nothing_moves() -> None:
    """A film of the picture as the TAE shows it, but for its upper half."""
    tae = TAE(PRESETS["nano"].tae)
    seeded_init(tae)
    picture = noise(1, 64, 64)
    film = to_pixels(tae.decode(tae.encode(to_signed(picture[None])), 1))[0].repeat(20, axis=0)
    film[:, :32] = np.where(film[:, :32] > 127, 0, 255)
    (shown,) = kept_still([picture], [film], tae)
    np.testing.assert_array_equal(shown[0, 40:], picture[0, 40:])
    np.testing.assert_array_equal(shown[:, :24], film[:, :24])
    np.testing.assert_array_equal(shown[16:], film[16:])


def test_frames_that_are_equal_differ_by_their_rounding() -> None:
    frame = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(frame, frame) == pytest.approx(58.92, abs=0.01)
    assert psnr(frame, frame + 10) == pytest.approx(28.13, abs=0.01)
