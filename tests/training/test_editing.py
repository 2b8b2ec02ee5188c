import numpy as np
import torch

from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.weights import seeded_init
from tests.kino.clips import noise
from training.data import to_pixels, to_signed
from training.editing import composed, kept_still


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
def test_a_film_keeps_the_picture_that_it_begins_with_where_nothing_moves() -> None:
    """A film of the picture as the TAE shows it, whose upper half has gone after three frames."""
    tae = TAE(PRESETS["nano"].tae)
    seeded_init(tae)
    picture = noise(1, 64, 64)
    film = to_pixels(tae.decode(tae.encode(to_signed(picture[None])), 1))[0].repeat(8, axis=0)
    film[3:, :32] = np.where(film[3:, :32] > 127, 0, 255)
    (shown,) = kept_still([picture], [film], tae)
    np.testing.assert_array_equal(shown[:2], picture.repeat(2, axis=0))
    np.testing.assert_array_equal(shown[:, 40:], picture[:, 40:].repeat(8, axis=0))
    np.testing.assert_array_equal(shown[5:, :24], film[5:, :24])
