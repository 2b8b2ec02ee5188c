"""What `kino models plan` says of time and memory, against what the parts of published models really take.

Their layers are as wide as those of published weights, but few, and the clips small, so that a part takes a core about
a second. Seconds are those of cores computing, in what is reckoned as in what is measured.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kino import adopted, parts, speed
from kino.execution import Execution
from kino.families import DIT, Settings
from kino.importing import import_pipeline
from kino.planning import Need, make_plan
from kino.registry import Registry
from kino.speed import Rates
from tests import pipelines
from tests.bench.harness import Case, Facts, Section, Timing, summarise
from tests.bench.part import Taken, measure
from tests.bench.published import environment
from tests.folders import VOCABULARY

_STEPS = 1
_ENOUGH_BYTES = 1 << 40

Clip = tuple[int, int, int]
"""Frames, height, width."""


@dataclass(frozen=True)
class Row:
    """A family: its pipeline, and the clips that are denoised and decoded."""

    build: Callable[[], Any]
    denoised: Clip
    decoded: Clip


def t5(kind: str = "T5EncoderModel") -> Any:
    """One layer of a T5, whose rows are as wide as those of XXL, with heads and feed-forward of XL."""
    made = adopted.library()
    config = made.UMT5Config if kind.startswith("UMT5") else made.T5Config
    sizes = {"d_model": 4096, "d_kv": 64, "d_ff": 5120, "num_layers": 1, "num_heads": 32, "decoder_start_token_id": 0}
    return getattr(made, kind)(config(vocab_size=VOCABULARY, feed_forward_proj="gated-gelu", **sizes))


def wan() -> Any:
    """Wan 2.1 of 1.3B."""
    made, pipeline = parts.library(), pipelines.wan()
    transformer = made.WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=1)
    pipeline.register_modules(transformer=transformer, vae=made.AutoencoderKLWan(), text_encoder=t5("UMT5EncoderModel"))
    return pipeline


def ltx() -> Any:
    """LTX-Video of 2B."""
    made, pipeline = parts.library(), pipelines.ltx()
    pipeline.register_modules(
        transformer=made.LTXVideoTransformer3DModel(num_layers=1), vae=made.AutoencoderKLLTXVideo(), text_encoder=t5()
    )
    return pipeline


def hunyuan() -> Any:
    """HunyuanVideo, half as wide."""
    made, texts, pipeline = parts.library(), adopted.library(), pipelines.hunyuan()
    transformer = made.HunyuanVideoTransformer3DModel(
        num_attention_heads=12, num_layers=1, num_single_layers=1, num_refiner_layers=1, text_embed_dim=2048
    )
    config = pipeline.text_encoder.config.to_dict() | {
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 3, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64,
    }  # fmt: skip
    clip = pipeline.text_encoder_2.config.to_dict() | {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "projection_dim": 768,
    }  # fmt: skip
    pipeline.register_modules(
        transformer=transformer,
        vae=made.AutoencoderKLHunyuanVideo(),
        text_encoder=texts.LlamaModel(texts.LlamaConfig(**config)),
        text_encoder_2=texts.CLIPTextModel(texts.CLIPTextConfig(**clip)),
    )
    return pipeline


def cogvideox() -> Any:
    """CogVideoX of 2B."""
    made, pipeline = parts.library(), pipelines.cogvideox()
    transformer = made.CogVideoXTransformer3DModel(
        num_layers=2, sample_width=24, sample_height=24, sample_frames=9, use_rotary_positional_embeddings=True
    )
    pipeline.register_modules(transformer=transformer, vae=made.AutoencoderKLCogVideoX(), text_encoder=t5())
    return pipeline


ROWS: Mapping[str, Row] = {
    "wan": Row(wan, (9, 256, 256), (5, 80, 80)),
    "ltx": Row(ltx, (17, 384, 384), (9, 192, 192)),
    "hunyuan": Row(hunyuan, (9, 256, 256), (5, 80, 80)),
    "cogvideox": Row(cogvideox, (9, 192, 192), (9, 48, 48)),
}


def planned(names: Sequence[str], threads: int, rounds: int) -> Section:
    """CPU seconds and most memory of each part of some families, beside what was planned."""
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as scratch, environment(threads):
        for name in names:
            timings += _family(Path(scratch, name), name, rounds)
    worst = {
        key: max((float(timing.facts[key]) for timing in timings), key=lambda ratio: max(ratio, 1 / ratio))
        for key in ("ratio", "ratio of work")
    }
    notes = {"farthest ratio": worst["ratio"], "farthest ratio of work": worst["ratio of work"]}
    return Section("What plans say of the parts of published models", timings, notes=notes)


def _family(folder: Path, name: str, rounds: int) -> list[Timing]:
    """The parts of a family, each in a process of its own."""
    row, registry = ROWS[name], Registry(folder / "models")
    import_pipeline(pipelines.save(row.build, folder / "pipeline"), registry, name)
    rates = speed.measured(torch.device("cpu"), torch.float32, time.process_time)
    timings = []
    for service, clip in (("encoder", row.decoded), ("generator", row.denoised), ("tae", row.decoded)):
        need = _need(registry, name, service, clip, rates)
        film = dict(zip(("frames", "height", "width"), clip, strict=True)) | {"steps": _STEPS}
        with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
            taken = pool.submit(measure, service, folder / "models", name, film, rounds).result()
        facts = _facts(need, rates, taken)
        timings.append(summarise(Case(f"{name}: {service}", lambda: None, facts=facts), taken.seconds))
    return timings


def _need(registry: Registry, name: str, service: str, clip: Clip, rates: Rates) -> Need:
    """What is planned of a service for a clip."""
    frames, height, width = clip
    clips = Settings.of(registry.resolve(DIT, name)).clips
    assert clips is not None
    plan = make_plan(
        registry, name, seconds=frames / clips.fps, size=(height, width), steps=_STEPS, dtype="",
        execution=Execution(), tiled=False, device="cpu", device_bytes=_ENOUGH_BYTES, rates=rates,
    )  # fmt: skip
    return next(need for need in plan.needs if need.service == service)


def _facts(need: Need, rates: Rates, taken: Taken) -> Facts:
    reckoned = rates.seconds(need.flops)
    return {
        "planned": f"{reckoned:.3f} s",
        "ratio": round(reckoned / median(taken.seconds), 2),
        "products": f"{need.flops.products / 1e9:.1f} GFLOP at {rates.products / 1e9:.0f}/s",
        "attention": f"{need.flops.attention / 1e9:.1f} at {rates.attention / 1e9:.0f}/s",
        "convolutions": f"{need.flops.convolutions / 1e9:.1f} at {rates.convolutions / 1e9:.0f}/s",
        "work": f"{taken.asked / 2**20:.0f} MiB",
        "resident": f"{taken.resident / 2**20:.0f} MiB",
        "planned work": f"{need.work / 2**20:.0f} MiB",
        "ratio of work": round(need.work / taken.asked, 2),
    }
