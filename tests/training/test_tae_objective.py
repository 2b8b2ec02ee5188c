import pytest
import torch

from training.objectives.tae import gradient_l1, outlier_penalty, psnr, weighted_l1


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(2, 3, 1, 4, 4)
    assert psnr(target + 0.2, target) == pytest.approx(20.0, abs=1e-4)


def test_saturated_pixels_weigh_more() -> None:
    target = torch.zeros(1, 3, 1, 1, 2)
    target[0, :, 0, 0, 0] = torch.tensor([1.0, -1.0, -1.0])
    grey_wrong, red_wrong = target.clone(), target.clone()
    grey_wrong[..., 1] += 0.5
    red_wrong[..., 0] += 0.5
    assert weighted_l1(grey_wrong, target, 2.0) == pytest.approx(0.5 * 1 / 4)
    assert weighted_l1(red_wrong, target, 2.0) == pytest.approx(0.5 * 3 / 4)


def test_gradient_loss_sees_edges_and_no_constant() -> None:
    target = torch.zeros(1, 1, 1, 2, 2)
    edge = target.clone()
    edge[..., 1] = 1.0
    assert gradient_l1(target + 0.7, target) == 0.0
    assert gradient_l1(edge, target) == pytest.approx(1.0)


def test_outlier_penalty_of_one_dot() -> None:
    latents = torch.zeros(1, 1, 1, 1, 100)
    latents[..., 0] = 10.0
    mean, std = 0.1, (0.01 * 9.9**2 + 0.99 * 0.1**2) ** 0.5
    assert outlier_penalty(latents, 3.0) == pytest.approx((10.0 - mean - 3 * std) / 100, rel=1e-5)
    assert outlier_penalty(latents, 20.0) == 0.0
