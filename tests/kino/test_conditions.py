import torch

from kino import conditions


def test_a_video_is_given_whole_and_unmasked() -> None:
    latents = torch.randn(2, 16, 3, 4, 4)
    condition = conditions.from_video(latents)
    assert torch.equal(condition[:, :16], latents)
    assert condition.shape == (2, 17, 3, 4, 4)
    assert not condition[:, 16].any()


def test_a_picture_is_beside_every_frame_and_the_mask_says_which_it_is() -> None:
    latents = torch.randn(2, 16, 1, 4, 4)
    condition = conditions.from_picture(latents, 3)
    assert condition.shape == (2, 17, 3, 4, 4)
    for frame in range(3):
        assert torch.equal(condition[:, :16, frame], latents[:, :, 0])
    assert condition[:, 16].sum(dim=(0, 2, 3)).tolist() == [32.0, 0.0, 0.0]
    assert torch.equal(conditions.from_picture(latents, 1)[:, :16], latents)


def test_text_alone_gives_zeros() -> None:
    assert torch.equal(conditions.nothing(torch.ones(1, 16, 2, 4, 4)), torch.zeros(1, 17, 2, 4, 4))
