"""Our networks against those of diffusers with as many parameters, on the same shapes, threads and precision."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kino.models.dit import DiT, DitConfig
from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.shapes import Grid, Size, latent_grid
from tests.bench.harness import Case, Section, compare

BATCH = 2  # with and without the text, as guidance asks
TEXT_TOKENS = 64
M = TypeVar("M", bound=nn.Module)


def dit_step(preset: str, device: str, rounds: int) -> Section:
    """One guided denoising step of a preset's default film: DiT against WanTransformer3DModel.

    Each run denoises a film, and its seconds are shared among its steps: ours reads the text once before the first,
    as the generator does; diffusers' model takes it in at every step, and knows no other way.
    """
    row = PRESETS[preset]
    grid = latent_grid(row.video.frames, Size(row.video.pixels, row.video.pixels))
    ours = DiT(row.dit).eval().to(device)
    theirs = wan_transformer(row.dit, parameters(ours)).eval().to(device)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(BATCH, row.dit.latent_channels, grid.t, grid.h, grid.w, generator=generator).to(device)
    mask = torch.ones(BATCH, TEXT_TOKENS, dtype=torch.bool, device=device)
    texts = {
        name: (torch.randn(BATCH, TEXT_TOKENS, width, generator=generator).to(device), mask)
        for name, width in row.dit.text_widths
    }
    text = torch.randn(BATCH, TEXT_TOKENS * len(texts), wan_text_width(row.dit), generator=generator).to(device)
    t, steps = torch.full((BATCH,), 0.5, device=device), row.sampler.steps

    def denoise() -> None:
        reading = ours.read(texts)
        for _ in range(steps):
            ours(x_t, t, reading)

    def denoise_wan() -> None:
        for _ in range(steps):
            theirs(x_t, 1000 * t, text, return_dict=False)

    return compare(
        f"DiT step, {preset}, batch {BATCH}, {grid.tokens} tokens, {text.shape[1]} text tokens, float32, {device}",
        case("kino DiT", ours, device, denoise, steps),
        case("diffusers Wan", theirs, device, denoise_wan, steps),
        rounds,
    )


def tae_decode(preset: str, device: str, rounds: int) -> Section:
    """Decoding a preset's default film, per frame: TAE against AutoencoderKLWan, equal decoder parameters."""
    row = PRESETS[preset]
    size = Size(row.video.pixels, row.video.pixels)
    ours = TAE(row.tae).eval().to(device)
    theirs = wan_autoencoder(parameters(ours.decoder)).eval().to(device)
    grid = latent_grid(row.video.frames, size)
    # A causal autoencoder makes one frame from its first latent frame and eight from every other.
    latents, wan_latents = noise(grid, device), noise(Grid(grid.t + 1, grid.h, grid.w), device)
    return compare(
        f"TAE decode, {preset}, {size.height} x {size.width}, per frame, float32, {device}",
        case("kino TAE", ours.decoder, device, lambda: ours.decode(latents, row.video.frames), row.video.frames),
        case(
            "diffusers Wan",
            theirs.decoder,
            device,
            lambda: theirs.decode(wan_latents, return_dict=False),
            8 * grid.t + 1,
        ),
        rounds,
    )


def wan_transformer(config: DitConfig, wanted: int) -> WanTransformer3DModel:
    """Wan's transformer of a DiT's width, heads and layers, its feed-forward sized for nearly `wanted` parameters."""

    def build(ffn_dim: int) -> WanTransformer3DModel:
        return WanTransformer3DModel(
            num_attention_heads=config.heads,
            attention_head_dim=config.width // config.heads,
            in_channels=config.latent_channels,
            out_channels=config.latent_channels,
            text_dim=wan_text_width(config),
            ffn_dim=ffn_dim,
            num_layers=config.layers,
        )

    return nearest(build, parameters, wanted, step=8)


def wan_text_width(config: DitConfig) -> int:
    """Wan takes one text sequence of one width: the widest tower's."""
    return max(width for _, width in config.text_widths)


def wan_autoencoder(wanted: int) -> AutoencoderKLWan:
    """Wan's autoencoder with compression 8 x 8 x 8, its decoder sized to come nearest to `wanted` parameters."""

    def build(decoder_base_dim: int) -> AutoencoderKLWan:
        return AutoencoderKLWan(
            base_dim=8,
            decoder_base_dim=decoder_base_dim,
            temperal_downsample=[True, True, True],
            scale_factor_temporal=8,
        )

    return nearest(build, lambda model: parameters(model.decoder), wanted, step=2)


def nearest(build: Callable[[int], M], size: Callable[[M], int], wanted: int, step: int) -> M:
    """The model whose size comes nearest to `wanted`, among multiples of `step`; size grows with the multiple."""
    low, high = 1, 1 << 14
    with torch.device("meta"):
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if size(build(middle * step)) < wanted else (low, middle)
        best = min(
            (low - 1, low), key=lambda multiple: abs(size(build(multiple * step)) - wanted) if multiple else wanted
        )
    return build(best * step)


def case(name: str, network: nn.Module, device: str, run: Callable[[], object], units: int = 1) -> Case:
    """A case without gradients that waits for the device, with its parameters and operations as facts."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    facts = {"parameters": parameters(network), "gflop": round(counter.get_total_flops() / units / 1e9, 3)}
    return Case(name, partial(timed, run, device), units, facts)


def timed(run: Callable[[], object], device: str) -> None:
    """Run to the end of the device's queue."""
    with torch.inference_mode():
        run()
    if device != "cpu":
        torch.accelerator.synchronize()


def noise(grid: Grid, device: str) -> Tensor:
    """One latent video of normal noise."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 16, grid.t, grid.h, grid.w, generator=generator).to(device)


def parameters(network: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())
