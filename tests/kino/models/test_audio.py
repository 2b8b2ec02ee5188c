import torch
from torch import Tensor

from kino.models.audio import AudioDit, Conditions, at_latent_rate
from kino.presets import PRESETS

CONFIG = PRESETS["nano"].audio


def awake() -> AudioDit:
    """A generator whose gates are open, as training leaves them."""
    torch.manual_seed(0)
    audio = AudioDit(CONFIG).eval().requires_grad_(False)
    for parameter in audio.parameters():
        if not parameter.any():
            parameter.normal_(std=0.2)
    return audio


def conditions(b: int, length: int, tokens: int = 5) -> Conditions:
    generator = torch.Generator().manual_seed(length)
    given = torch.zeros(b, length, dtype=torch.bool)
    given[:, :3] = True
    return Conditions(
        torch.randn(b, length, CONFIG.video_width, generator=generator),
        torch.randn(b, tokens, CONFIG.text_width, generator=generator),
        torch.ones(b, tokens, dtype=torch.bool),
        torch.randn(b, CONFIG.latent_channels, length, generator=generator) * given[:, None],
        given,
    )


def latents(b: int, length: int) -> Tensor:
    return torch.randn(b, CONFIG.latent_channels, length, generator=torch.Generator().manual_seed(7))


def test_an_untrained_generator_predicts_zero() -> None:
    torch.manual_seed(0)
    found = AudioDit(CONFIG)(latents(2, 9), torch.tensor([0.1, 0.9]), conditions(2, 9))
    assert found.shape == (2, CONFIG.latent_channels, 9)
    assert not found.any()


def test_every_condition_is_listened_to() -> None:
    audio, x_t, t, full = awake(), latents(1, 12), torch.tensor([0.4]), conditions(1, 12)
    whole = audio(x_t, t, full)
    nothing = full.dropped()
    for name in ("video", "context", "given"):
        assert not torch.allclose(audio(x_t, t, full._replace(**{name: getattr(nothing, name)})), whole, atol=1e-4), (
            name
        )
    assert not torch.allclose(audio(x_t, t, full._replace(text_mask=nothing.text_mask)), whole, atol=1e-4)
    assert not torch.allclose(audio(x_t, t + 0.3, full), whole, atol=1e-4)


def test_masked_text_is_not_read() -> None:
    audio, x_t, t, full = awake(), latents(1, 12), torch.tensor([0.4]), conditions(1, 12)
    mask = full.text_mask.clone()
    mask[:, 3:] = False
    shorter = full._replace(text=full.text[:, :3], text_mask=full.text_mask[:, :3])
    torch.testing.assert_close(
        audio(x_t, t, full._replace(text_mask=mask)), audio(x_t, t, shorter), atol=1e-5, rtol=1e-5
    )
    none = full._replace(text=full.text[:, :0], text_mask=full.text_mask[:, :0])
    masked = full._replace(text_mask=torch.zeros_like(full.text_mask))
    torch.testing.assert_close(audio(x_t, t, none), audio(x_t, t, masked), atol=1e-5, rtol=1e-5)


def test_a_sound_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    audio, x_t, t, both = awake(), latents(2, 12), torch.tensor([0.2, 0.7]), conditions(2, 12)
    alone = Conditions(*(part[1:] for part in both))
    torch.testing.assert_close(audio(x_t, t, both)[1:], audio(x_t[1:], t[1:], alone), atol=1e-5, rtol=1e-5)


def test_what_is_seen_later_moves_what_is_heard_later() -> None:
    """Positions are relative: the same window, its latents and frames moved by two, gives the same velocities moved."""
    audio, t = awake(), torch.tensor([0.5])
    full = conditions(1, 12)._replace(
        context=torch.zeros(1, CONFIG.latent_channels, 12), given=torch.zeros(1, 12, dtype=torch.bool)
    )
    x_t = latents(1, 12)
    turned = audio(x_t.roll(2, -1), t, full._replace(video=full.video.roll(2, 1)))
    plain = audio(x_t, t, full)
    assert (turned[..., 2:] - plain[..., :-2]).abs().mean() < 0.5 * (turned - plain).abs().mean()


def test_frames_are_brought_to_the_middles_of_the_latents() -> None:
    seen = at_latent_rate(torch.arange(4.0)[:, None], fps=12.5, latents=9)[:, 0]
    # Latent j is 40 ms long: its middle lies (j + 0.5) / 2 frames after the first; after the last frame that one stays.
    assert seen.tolist() == [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0, 3.0, 3.0]
    assert at_latent_rate(torch.tensor([[5.0]]), fps=16, latents=3).tolist() == [[5.0]] * 3
    fast = at_latent_rate(torch.arange(100.0)[:, None], fps=100, latents=2)[:, 0]
    torch.testing.assert_close(fast, torch.tensor([2.0, 6.0]))
