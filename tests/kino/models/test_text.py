import pytest
import torch
from torch import Tensor

from kino.models.text import GatedMlp, PictureEncoder, SpanDecoder, Tower, TowerConfig, pad, rotary, rotate

CONFIG = TowerConfig(vocabulary=50, width=32, layers=2, heads=4, hidden=48, max_tokens=16)


@pytest.fixture(scope="module")
def tower() -> Tower:
    torch.manual_seed(0)
    tower = Tower(CONFIG)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # far from the small weights of the beginning
    return tower.eval()


def ids_of(*lengths: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return pad([torch.randint(50, (length,), generator=generator).tolist() for length in lengths])


def test_padding_and_neighbours_move_a_row_by_rounding_alone(tower: Tower) -> None:
    ids, mask = ids_of(5, 16, 9)
    together = tower(ids, mask)
    for i, length in enumerate((5, 16, 9)):
        alone = tower(ids[i : i + 1, :length], mask[i : i + 1, :length])
        assert (together[i, :length] - alone[0]).abs().max() < 1e-5  # rows have deviation 1
    assert (together[0] - tower(ids[:1], mask[:1])[0]).abs().max() < 1e-5


def test_what_stands_under_the_mask_is_never_read(tower: Tower) -> None:
    ids, mask = ids_of(5, 16)
    other = torch.where(mask, ids, 49 - ids)
    torch.testing.assert_close(tower(ids, mask), tower(other, mask), rtol=0, atol=0)


def test_rows_outside_the_mask_are_zero_and_those_inside_are_normed(tower: Tower) -> None:
    ids, mask = ids_of(5, 16)
    rows = Tower(CONFIG)(ids, mask)
    assert rows[0, 5:].abs().max() == 0
    torch.testing.assert_close(rows[mask].square().mean(-1), torch.ones(21), rtol=1e-2, atol=0)


def test_an_empty_sequence_gives_no_rows_and_an_empty_mask_gives_zeros(tower: Tower) -> None:
    ids, mask = pad([[], []])
    assert tower(ids, mask).shape == (2, 0, 32)
    ids, mask = pad([[], [1, 2]])
    rows = tower(ids, mask)
    assert rows[0].abs().max() == 0
    assert torch.isfinite(rows).all()


def test_order_matters_and_both_sides_are_seen(tower: Tower) -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    rows = tower(torch.tensor([[1, 2, 3]]), mask)
    assert (rows - tower(torch.tensor([[2, 1, 3]]), mask))[0, 2].abs().max() > 1e-3
    assert (rows - tower(torch.tensor([[1, 2, 4]]), mask))[0, 0].abs().max() > 1e-3


def test_rotary_turns_by_the_position_and_keeps_lengths() -> None:
    turns = rotary(torch.tensor([0, 1, 5]), 2)
    x = torch.tensor([1.0, 0.0]).expand(1, 1, 3, 2)
    angles = torch.tensor([0.0, 1.0, 5.0])
    torch.testing.assert_close(rotate(x, turns)[0, 0], torch.stack((angles.cos(), angles.sin()), dim=-1))


def test_rotary_scores_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))
    near = rotate(q, rotary(torch.tensor([3]), 8)) @ rotate(k, rotary(torch.tensor([1]), 8)).mT
    far = rotate(q, rotary(torch.tensor([12]), 8)) @ rotate(k, rotary(torch.tensor([10]), 8)).mT
    torch.testing.assert_close(near, far)


def test_gated_mlp_is_its_formula() -> None:
    mlp = GatedMlp(3, 5)
    x = torch.randn(2, 4, 3)
    gate, value = (x @ mlp.inner.weight.T).split(5, dim=-1)
    torch.testing.assert_close(mlp(x), (gate * gate.sigmoid() * value) @ mlp.out.weight.T)


def test_the_decoder_sees_the_past_and_the_features_alone() -> None:
    torch.manual_seed(1)
    decoder = SpanDecoder(CONFIG, layers=1)
    features, mask = torch.randn(1, 6, 32), torch.tensor([[True] * 4 + [False] * 2])
    ids = torch.tensor([[1, 2, 3, 4]])
    logits = decoder(ids, features, mask)
    assert logits.shape == (1, 4, 50)
    changed = decoder(torch.tensor([[1, 2, 3, 9]]), features, mask)
    torch.testing.assert_close(changed[:, :3], logits[:, :3])
    hidden = features.clone()
    hidden[:, 4:] = 100.0
    torch.testing.assert_close(decoder(ids, hidden, mask), logits)


def test_pictures_become_one_row_a_clip_whatever_their_neighbours() -> None:
    torch.manual_seed(2)
    encoder = PictureEncoder(frames=4, size=48, width=24)
    clips = torch.rand(3, 3, 4, 48, 48) * 2 - 1
    rows = encoder(clips)
    assert rows.shape == (3, 24)
    torch.testing.assert_close(encoder(clips[1:2]), rows[1:2], rtol=1e-4, atol=1e-5)


def test_pad_fills_up_and_masks() -> None:
    ids, mask = pad([[4, 5], [6], []])
    assert ids.tolist() == [[4, 5], [6, 0], [0, 0]]
    assert mask.tolist() == [[True, True], [True, False], [False, False]]


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width: 30"):
        TowerConfig(vocabulary=50, width=30, layers=1, heads=4, hidden=48, max_tokens=16)
