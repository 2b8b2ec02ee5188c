import numpy as np
import pytest

from training.world.people import identities
from training.world.portraits import portrait
from training.world.scene import Identity


def test_a_portrait_is_a_pure_function_of_people_and_generator() -> None:
    who = identities()[9]
    first, faces = portrait((who,), np.random.default_rng(3))
    again, same = portrait((who,), np.random.default_rng(3))
    np.testing.assert_array_equal(first, again)
    assert faces == same
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.uint8


@pytest.mark.parametrize(("people", "size"), [(0, (96, 96)), (1, (64, 128)), (2, (96, 96))])
def test_every_face_is_told_and_within_the_picture(people: int, size: tuple[int, int]) -> None:
    height, width = size
    for seed in range(12):
        _, faces = portrait(identities()[:people], np.random.default_rng(seed), height, width)
        assert len(faces) == people
        for face in faces:
            assert -0.1 * width < face.x < 1.1 * width
            assert 0 < face.y < 0.65 * height
            assert 0.1 < face.reach / min(height, width) < 0.8


def test_only_the_person_differs_between_portraits_by_the_same_generator() -> None:
    """Skin shows at the middle of the face; the corners of the picture are background."""
    for seed in range(6):
        (pale, faces), (dark, _) = (
            portrait((Identity(skin, "black", "short"),), np.random.default_rng(seed)) for skin in ("pale", "dark")
        )
        x, y, reach = faces[0]
        rows, columns = (slice(max(round(v - 0.15 * reach), 0), round(v + 0.15 * reach)) for v in (y, x))
        assert pale[rows, columns].astype(int).mean() > dark[rows, columns].astype(int).mean() + 30
        np.testing.assert_array_equal(pale[:4, :4], dark[:4, :4])


def test_backgrounds_and_light_vary() -> None:
    corners = {tuple(portrait((identities()[0],), np.random.default_rng(seed))[0][0, 0]) for seed in range(12)}
    assert len(corners) > 8
