"""The rewriter, the towers and the TAE's decoder by torch and by onnxruntime: the same calls, on the same threads."""

from collections.abc import Callable
from functools import partial

import numpy as np

from kino.presets import PRESETS
from kino.registry import Registry, models_folder
from kino.shapes import Size, latent_grid
from services.encoder.engine import EncoderEngine
from services.rewriter.engine import RewriterEngine
from services.tae.engine import TaeEngine
from tests.bench.harness import Case, Section, compare

PROMPT = "please show my red ball bouncing about in a meadow, and pan the camera left"
TEXT = "a red ball bounces in a meadow, the camera pans left"


def runtimes(preset: str, device: str, rounds: int) -> list[Section]:
    """Onnxruntime against torch: a prompt rewritten, a prompt encoded by every tower, a default film decoded."""
    return [
        against_torch("A prompt rewritten", partial(rewriting, preset, device), rounds),
        against_torch("A prompt encoded by every tower", partial(encoding, preset, device), rounds),
        against_torch("A film decoded by the TAE", partial(decoding, preset, device), rounds),
    ]


def against_torch(title: str, call: Callable[[str], Callable[[], object]], rounds: int) -> Section:
    """One call by both runtimes, interleaved."""
    return compare(title, Case("onnx", call("onnx")), Case("torch", call("torch")), rounds)


def rewriting(preset: str, device: str, runtime: str) -> Callable[[], object]:
    """A call that rewrites a prompt."""
    engine = RewriterEngine(preset, preset, Registry(models_folder()), device, runtime)
    return lambda: engine.rewrite(PROMPT, 0)


def encoding(preset: str, device: str, runtime: str) -> Callable[[], object]:
    """A call that encodes a prompt."""
    engine = EncoderEngine(preset, preset, Registry(models_folder()), device, runtime)
    return lambda: engine.encode(TEXT, PRESETS[preset].video.fps)


def decoding(preset: str, device: str, runtime: str) -> Callable[[], object]:
    """A call that decodes a preset's default film, tile by tile."""
    video = PRESETS[preset].video
    engine = TaeEngine(preset, preset, Registry(models_folder()), device, runtime)
    grid = latent_grid(video.frames, Size(video.pixels, video.pixels))
    shape = (PRESETS[preset].tae.latent_channels, grid.t, grid.h, grid.w)
    latents = np.random.default_rng(0).standard_normal(shape, np.float32)
    return lambda: list(engine.decode(latents, video.frames))
