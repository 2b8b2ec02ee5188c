import pytest
import torch
from torch import Tensor

from kino.models.identity import FoundFace, Identity, cut
from kino.presets import PRESETS

CONFIG = PRESETS["nano"].identity
assert CONFIG is not None


class Told(Identity):
    """An encoder whose finder says what it was told."""

    def __init__(self, grid: Tensor) -> None:
        assert CONFIG is not None
        super().__init__(CONFIG)
        self.told = grid

    def grid(self, pictures: Tensor) -> Tensor:
        cell = self.config.cell
        assert pictures.shape[2:] == (cell * self.told.shape[1], cell * self.told.shape[2])
        return self.told[None]


def grid(*faces: tuple[int, int, float, float, float, float], rows: int = 4, columns: int = 4) -> Tensor:
    """What a finder says that is sure of nothing but (row, column, presence, x, y, reach in cells)."""
    told = torch.zeros(4, rows, columns)
    told[0] = -5.0
    for row, column, presence, x, y, reach in faces:
        told[:, row, column] = torch.tensor((presence, x, y, float(torch.tensor(reach).log())))
    return told


def test_a_face_is_where_its_cell_says() -> None:
    """In a picture of 64 x 64 that is seen at 32 x 32, a cell of 8 is 16 pixels wide."""
    (face,) = Told(grid((1, 2, 3.0, 0.25, -0.5, 1.5))).find(torch.zeros(3, 64, 64))
    assert face == pytest.approx(FoundFace(16 * 2.75, 16 * 1.0, 24.0, torch.sigmoid(torch.tensor(3.0)).item()))


def test_a_wide_picture_is_sought_at_the_same_area() -> None:
    (face,) = Told(grid((0, 7, 3.0, 0.0, 0.0, 1.0), rows=2, columns=8)).find(torch.zeros(3, 100, 400))
    assert (face.x, face.y, face.reach) == pytest.approx((375.0, 25.0, 50.0))


def test_near_findings_are_one_face_and_far_ones_two() -> None:
    near = grid((1, 1, 3.0, 0.4, 0.0, 2.0), (1, 2, 2.0, 0.0, 0.0, 2.0))
    (face,) = Told(near).find(torch.zeros(3, 32, 32))
    assert face.x == pytest.approx(15.2)  # the surer one
    far = grid((1, 0, 2.0, 0.0, 0.0, 1.0), (1, 3, 3.0, 0.0, 0.0, 1.0))
    assert [round(face.x) for face in Told(far).find(torch.zeros(3, 32, 32))] == [28, 4]


def test_what_is_not_sure_is_nobody() -> None:
    assert Told(grid((1, 1, -0.1, 0.0, 0.0, 1.0))).find(torch.zeros(3, 32, 32)) == []
    assert len(Told(grid((1, 1, 0.1, 0.0, 0.0, 1.0))).find(torch.zeros(3, 32, 32))) == 1


def test_a_face_is_cut_out_and_the_border_goes_on() -> None:
    picture = torch.arange(64.0).view(1, 8, 8).expand(3, -1, -1)
    inside = cut(picture, 4.0, 4.0, 2.0, 4)
    torch.testing.assert_close(inside, picture[:, 2:6, 2:6])
    beyond = cut(picture, 0.0, 0.0, 2.0, 4)
    torch.testing.assert_close(beyond[:, :2, :2], picture[:, :1, :1].expand(-1, 2, 2))
    torch.testing.assert_close(beyond[:, 2:, 2:], picture[:, :2, :2])


def test_rows_have_unit_length_and_tokens_hold_the_same_values() -> None:
    torch.manual_seed(0)
    assert CONFIG is not None
    encoder = Identity(CONFIG).eval()
    faces = torch.rand(3, 3, 16, 16) * 2 - 1
    rows, tokens = encoder(faces), encoder.tokens(faces)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))
    assert tokens.shape == (3, CONFIG.tokens, CONFIG.token_width)
    torch.testing.assert_close(torch.nn.functional.normalize(tokens.flatten(1), dim=-1), rows)
    torch.testing.assert_close(encoder(faces[1:2])[0], rows[1], atol=1e-5, rtol=1e-5)
