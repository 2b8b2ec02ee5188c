from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kino.models.dit import Block, DiT, DitConfig, Positions, RMSNorm, Texts, attend, sinusoids, time_features
from kino.presets import PRESETS
from kino.shapes import Grid, Size, latent_grid

CONFIG = DitConfig(64, 3, 2, 96, (("ul2", 24), ("byt5", 12)), max_grid=(6, 4, 5), later_position_gain=0.5)


def untrained(config: DitConfig = CONFIG) -> DiT:
    torch.manual_seed(0)
    return DiT(config).eval().requires_grad_(False)


def trained(config: DitConfig = CONFIG) -> DiT:
    """A network whose gates are open."""
    dit = untrained(config)
    for linear in (dit.modulation, dit.modulation_out, dit.patch_out):
        linear.weight.normal_(std=0.2)
    return dit


def blocks(dit: DiT) -> list[Block]:
    return [block for block in dit.blocks if isinstance(block, Block)]


def set_gains(dit: DiT, *gains: float) -> None:
    """Set the factor of the positions in each block."""
    for block, gain in zip(blocks(dit), gains, strict=True):
        block.position_gain.fill_(gain)


def noise(batch: int = 2, channels: int = 16, grid: Grid = Grid(3, 4, 6), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, grid.t, grid.h, grid.w, generator=generator)


def texts(batch: int = 2, lengths: tuple[int, int] = (5, 4)) -> Texts:
    generator = torch.Generator().manual_seed(7)
    shown = {}
    for (name, width), length in zip(CONFIG.text_widths, lengths, strict=True):
        rows = torch.randn(batch, length, width, generator=generator)
        shown[name] = (rows, torch.ones(batch, length, dtype=torch.bool))
    return shown


TIMES = torch.tensor([0.2, 0.7])


def test_an_untrained_network_predicts_zero() -> None:
    assert torch.equal(untrained()(noise(), TIMES, texts()), torch.zeros(2, 16, 3, 4, 6))


def test_a_trained_network_predicts_a_velocity_of_the_latents_shape() -> None:
    velocity = trained()(noise(), TIMES, texts())
    assert velocity.shape == (2, 16, 3, 4, 6)
    assert velocity.isfinite().all()
    assert velocity.std() > 0.1


def test_tokens_are_patches_of_two_by_two_in_the_order_of_time_height_and_width() -> None:
    dit = untrained(replace(CONFIG, layers=1))
    dit.patch_in.weight.copy_(torch.eye(64))
    dit.patch_out.weight.copy_(torch.eye(64))
    set_gains(dit, 0.0)
    nobody = {name: (rows, torch.zeros_like(mask)) for name, (rows, mask) in texts().items()}
    x_t = noise()
    tokens, hidden = dit.features(x_t, TIMES, nobody)
    assert tokens.shape == hidden.shape == (2, Grid(3, 4, 6).tokens, 64)
    torch.testing.assert_close(hidden[0, 0, :4], x_t[0, :, 0, 0, 0][:4])
    torch.testing.assert_close(hidden[1, 3 * 2 * 2 + 4, 48:], x_t[1, :, 2, 3, 3])
    scale = tokens.square().mean(-1).sqrt()
    torch.testing.assert_close(scale, torch.ones_like(scale), atol=1e-4, rtol=0)
    folded = dit(x_t, TIMES, nobody)
    patch = x_t[0, :, 1, 2:4, 4:6]
    torch.testing.assert_close(folded[0, :, 1, 2:4, 4:6], patch / patch.square().mean().sqrt(), atol=1e-4, rtol=1e-4)


def test_positions_are_the_sum_of_one_vector_per_axis() -> None:
    positions = Positions(CONFIG)
    vectors = positions(Grid(3, 4, 6))
    assert vectors.shape == (18, 64)
    expected = positions.t_table[2] + positions.h_table[1] + positions.w_table[0]
    torch.testing.assert_close(vectors[2 * 2 * 3 + 1 * 3 + 0], expected)
    for table in (positions.t_table, positions.h_table, positions.w_table):
        torch.testing.assert_close(table.square().mean(dim=1), torch.full((len(table),), 1 / 3))


def test_positions_start_at_full_scale_in_the_first_block_alone() -> None:
    assert [block.position_gain.item() for block in blocks(untrained())] == [1.0, 0.5, 0.5]


def test_positions_are_added_to_the_input_of_every_block() -> None:
    dit, grid = trained(), Grid(3, 4, 6)
    entered: list[Tensor] = []
    left: list[Tensor] = []
    set_gains(dit, 0.25, 0.5, 0.75)
    for block in blocks(dit):
        block.self_norm.register_forward_hook(lambda module, inputs, output: entered.append(inputs[0]))
        block.register_forward_hook(lambda module, inputs, output: left.append(output))
    dit(noise(), TIMES, texts())
    for index in (1, 2):
        expected = left[index - 1] + 0.25 * (index + 1) * dit.positions(grid)
        torch.testing.assert_close(entered[index], expected)
    assert len(entered) == len(left) == 3


def test_without_positions_frames_are_a_set() -> None:
    dit, order = trained(), torch.tensor([2, 0, 1])
    moved = dit(noise()[:, :, order], TIMES, texts())
    assert not torch.allclose(moved, dit(noise(), TIMES, texts())[:, :, order], atol=1e-2)
    set_gains(dit, 0.0, 0.0, 0.0)
    moved = dit(noise()[:, :, order], TIMES, texts())
    torch.testing.assert_close(moved, dit(noise(), TIMES, texts())[:, :, order], atol=1e-4, rtol=1e-4)


def test_every_token_sees_every_other() -> None:
    dit, x_t = trained(), noise()
    before, changed = dit(x_t, TIMES, texts()), x_t.clone()
    changed[:, :, 2, 0, 0] += 3.0
    moved = (dit(changed, TIMES, texts()) - before).abs().amax(dim=1)
    assert moved.amin() > 0


def test_masked_text_has_no_influence() -> None:
    dit, shown = trained(), texts()
    for name, (rows, mask) in shown.items():
        mask[0, 2:] = False
        shown[name] = (rows, mask)
    expected = dit(noise(), TIMES, shown)
    other = {}
    for name, (rows, mask) in shown.items():
        other[name] = (torch.where(mask[..., None], rows, 100.0), mask)
    assert torch.equal(dit(noise(), TIMES, other), expected)
    cut = {name: (rows[:1, :2], mask[:1, :2]) for name, (rows, mask) in shown.items()}
    torch.testing.assert_close(dit(noise()[:1], TIMES[:1], cut), expected[:1], atol=1e-5, rtol=1e-5)


def test_text_that_is_read_has_influence() -> None:
    dit, shown = trained(), texts()
    rows, mask = shown["byt5"]
    other = shown | {"byt5": (rows + 1.0, mask)}
    assert not torch.allclose(dit(noise(), TIMES, other), dit(noise(), TIMES, shown), atol=1e-3)


def test_a_text_read_once_serves_every_step_bit_for_bit() -> None:
    dit, shown = trained(), texts()
    shown["byt5"][1][0, 2:] = False
    reading = dit.read(shown)
    for seed in (0, 1):
        assert torch.equal(dit(noise(seed=seed), TIMES, reading), dit(noise(seed=seed), TIMES, shown))
    assert [keys.shape for keys, _ in reading.keys_values] == [(2, 2, 9, 32)] * 3


def test_no_text_at_all_is_the_same_whether_masked_or_empty() -> None:
    dit = trained()
    masked = {name: (rows, torch.zeros_like(mask)) for name, (rows, mask) in texts().items()}
    velocity = dit(noise(), TIMES, masked)
    assert velocity.isfinite().all()
    torch.testing.assert_close(dit(noise(), TIMES, texts(lengths=(0, 0))), velocity)


def test_a_tower_without_tokens_leaves_the_others_alone() -> None:
    dit, shown = trained(), texts()
    rows, mask = shown["byt5"]
    masked = shown | {"byt5": (rows, torch.zeros_like(mask))}
    torch.testing.assert_close(
        dit(noise(), TIMES, texts(lengths=(5, 0))), dit(noise(), TIMES, masked), atol=1e-5, rtol=1e-5
    )


def test_a_clip_does_not_depend_on_its_batch_neighbour() -> None:
    dit, shown = trained(), texts()
    alone = {name: (rows[1:], mask[1:]) for name, (rows, mask) in shown.items()}
    deviation = (dit(noise(), TIMES, shown)[1:] - dit(noise()[1:], TIMES[1:], alone)).abs().amax()
    assert deviation < 1e-5


def test_time_has_influence() -> None:
    dit = trained()
    assert not torch.allclose(dit(noise(), TIMES, texts()), dit(noise(), TIMES + 0.1, texts()), atol=1e-3)


def test_features_are_the_tokens_after_the_block_asked_for() -> None:
    dit = trained()
    left: list[Tensor] = []
    for block in dit.blocks:
        block.register_forward_hook(lambda module, inputs, output: left.append(output))
    _, first = dit.features(noise(), TIMES, texts(), layer=0)
    _, last = dit.features(noise(), TIMES, texts())
    assert torch.equal(first, left[0])
    assert torch.equal(last, left[5])


def test_extra_channels_enter_and_do_not_leave() -> None:
    dit = trained(replace(CONFIG, extra_channels=16))
    x_t = noise(channels=32)
    velocity = dit(x_t, TIMES, texts())
    assert velocity.shape == (2, 16, 3, 4, 6)
    x_t[:, 16:] += 1.0
    assert not torch.allclose(dit(x_t, TIMES, texts()), velocity, atol=1e-3)


def test_rms_norm_has_its_closed_form() -> None:
    norm = RMSNorm(4)
    nn.init.constant_(norm.weight, 2.0)
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0, 0.0, 0.0])), torch.tensor([2.4, 3.2, 0.0, 0.0]))


def test_attention_over_one_visible_key_is_its_value() -> None:
    q, k, v = torch.randn(3, 2, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[False, False, True, False], [False, False, False, False]])
    mixed = attend(q, k, v, mask)
    torch.testing.assert_close(mixed[0], v[0, :, 2:3].expand(-1, 4, -1))
    assert torch.equal(mixed[1], torch.zeros(1, 4, 8))


def test_time_features_start_at_cosine_one_and_sine_zero() -> None:
    features = time_features(torch.tensor([0.0, 0.001]))
    assert features.shape == (2, 256)
    assert torch.equal(features[0], torch.cat([torch.ones(128), torch.zeros(128)]))
    torch.testing.assert_close(features[1, [0, 128]], torch.tensor([1.0, 1.0]).cos() * torch.tensor([1.0, 1.5574077]))


def test_sinusoids_have_unit_rows_and_a_quarter_turn_per_position() -> None:
    table = sinusoids(16, 32)
    torch.testing.assert_close(table.square().mean(dim=1), torch.full((16,), 0.5))
    torch.testing.assert_close(table[:4, 0], torch.tensor([0.0, 1.0, 0.0, -1.0]), atol=1e-6, rtol=0)


def test_the_papers_size_has_the_papers_parameters_and_tokens() -> None:
    preset = PRESETS["30b"]
    with torch.device("meta"):
        dit = DiT(preset.dit)
        x_t = torch.zeros(1, 16, 32, 96, 96)
        rows = {name: (torch.zeros(1, 3, width), torch.ones(1, 3).bool()) for name, width in preset.dit.text_widths}
        tokens, _ = dit.features(x_t, torch.zeros(1), rows)
    parameters = sum(parameter.numel() for parameter in dit.parameters())
    in_blocks = sum(parameter.numel() for parameter in dit.blocks.parameters())
    assert 48 * 603_979_776 <= in_blocks < 48 * 603_979_776 * 1.001
    assert parameters == pytest.approx(30e9, rel=0.03)
    assert tokens.shape == (1, 73_728, 64)
    assert latent_grid(256, Size(768, 768)).tokens == 73_728


EDITOR = replace(CONFIG, extra_channels=17, tasks=("text", "recolour", "remove"))


def test_an_untold_task_changes_nothing_but_a_learned_one_does() -> None:
    dit = trained(EDITOR)
    x_t = noise(channels=33)
    tasks = [torch.full((2,), task) for task in range(3)]
    before = [dit(x_t, TIMES, texts(), task) for task in tasks]
    assert torch.equal(before[0], before[1])
    assert dit.task_in is not None
    dit.task_in.time.weight.normal_(std=0.1)
    by_time = [dit(x_t, TIMES, texts(), task) for task in tasks]
    dit.task_in.time.weight.zero_()
    dit.task_in.text.weight.normal_(std=0.1)
    by_text = [dit(x_t, TIMES, texts(), task) for task in tasks]
    for made in (by_time, by_text):
        assert not torch.allclose(made[0], made[1], atol=1e-3)
        assert made[0].shape == (2, 16, 3, 4, 6)


def test_tasks_are_given_per_clip() -> None:
    dit = trained(EDITOR)
    assert dit.task_in is not None
    dit.task_in.time.weight.normal_(std=0.1)
    x_t = noise(channels=33)
    dit.task_in.text.weight.normal_(std=0.1)
    both = dit(x_t, TIMES, texts(), torch.tensor([1, 2]))
    assert torch.equal(dit(x_t, TIMES, dit.read(texts(), torch.tensor([1, 2]))), both)
    alone = dit(x_t[1:], TIMES[1:], {name: (rows[1:], mask[1:]) for name, (rows, mask) in texts().items()},
                torch.tensor([2]))  # fmt: skip
    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_a_network_without_tasks_has_no_weights_for_them() -> None:
    assert not [name for name in untrained().state_dict() if name.startswith("task_in")]
    with pytest.raises(AssertionError):
        untrained()(noise(), TIMES, texts(), torch.zeros(2, dtype=torch.long))
    with pytest.raises(AssertionError):
        trained(EDITOR)(noise(channels=33), TIMES, texts())


def test_a_later_first_frame_takes_the_later_positions() -> None:
    positions = Positions(CONFIG)
    whole, late = positions(Grid(4, 4, 6)), positions(Grid(1, 4, 6), 3)
    assert torch.equal(late, whole[-6:])
