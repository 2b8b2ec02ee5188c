import pytest
import torch
from torch import nn

from training.optim import Muon, orthogonalise, rate, split_parameters, update_average


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_orthogonalising_keeps_the_singular_vectors() -> None:
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    u, _, vt = torch.linalg.svd(matrix)
    rotated = u.T @ orthogonalise(matrix[None])[0] @ vt.T
    off_diagonal = rotated - rotated.diag().diag()
    assert off_diagonal.abs().max() < 1e-4


def test_first_muon_step_of_a_square_matrix_has_the_spectral_norm_of_the_rate() -> None:
    weight = nn.Parameter(torch.zeros(12, 12))
    weight.grad = torch.randn(12, 12, generator=torch.Generator().manual_seed(2))
    Muon([weight], lr=0.1).step()
    assert 0.04 < torch.linalg.matrix_norm(weight.detach(), 2) < 0.13


def test_muon_treats_a_convolution_as_a_matrix() -> None:
    generator = torch.Generator().manual_seed(3)
    gradient = torch.randn(4, 2, 3, 3, generator=generator)
    kernel, matrix = nn.Parameter(torch.zeros(4, 2, 3, 3)), nn.Parameter(torch.zeros(4, 18))
    kernel.grad, matrix.grad = gradient, gradient.flatten(1)
    Muon([kernel], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    assert torch.equal(kernel.detach().flatten(1), matrix.detach())


def test_muon_finds_the_minimum_of_a_least_squares_problem() -> None:
    generator = torch.Generator().manual_seed(4)
    target = torch.randn(8, 8, generator=generator)
    weight = nn.Parameter(torch.zeros(8, 8))
    optimiser = Muon([weight], lr=0.05)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.05 * rate(step, 300, 0, 0.3)
        optimiser.zero_grad()
        ((weight - target) ** 2).sum().backward()
        optimiser.step()
    assert (weight - target).abs().max() < 0.05


def test_matrices_go_to_muon_and_vectors_and_tables_to_adamw() -> None:
    module = nn.ModuleDict({"linear": nn.Linear(3, 4), "words": nn.Embedding(5, 6), "conv": nn.Conv2d(2, 3, 1)})
    module.register_parameter("t_table", nn.Parameter(torch.zeros(7, 8)))
    matrices, others = split_parameters(module)
    assert sorted(tuple(part.shape) for part in matrices) == [(3, 2, 1, 1), (4, 3)]
    assert sorted(tuple(part.shape) for part in others) == [(3,), (4,), (5, 6), (7, 8)]


def test_rate_warms_up_stays_flat_and_falls_linearly() -> None:
    rates = [rate(step, 100, 10, 0.6) for step in (0, 9, 10, 60, 80, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.025])


def test_average_follows_the_weights_with_a_growing_decay() -> None:
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(average.weight, 0.0)
    update_average(average, model, decay=0.99, step=0)
    assert average.weight.item() == pytest.approx(0.9)
    update_average(average, model, decay=0.05, step=10_000)
    assert average.weight.item() == pytest.approx(0.995)
