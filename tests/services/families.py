"""The cases by which every family is compared with its library: a tiny pipeline of each, and what its own makes."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kino import parts
from tests import picture_pipelines, pipelines, sound_pipelines
from tests.pipelines import NEGATIVE, PROMPT

STEPS, SEED, GUIDANCE = 4, 3, 4.0


@dataclass(frozen=True)
class Case:
    """A tiny pipeline, the clip to make of it, and how its pipeline is called beside what all are called with.

    Args:
        unpack: brings the pipeline's latents to [1 c t h w].
        begins: class of the library's pipeline that makes clips which begin with a picture.
        bands: of the latents of its sound; 0 where it comes without.
    """

    build: Callable[[], Any]
    frames: int
    height: int
    width: int
    guidance: float | None = GUIDANCE
    call: Mapping[str, Any] = field(default_factory=lambda: {"negative_prompt": NEGATIVE})
    unpack: Callable[[Any, torch.Tensor, "Case"], torch.Tensor] = lambda pipeline, latents, case: latents
    begins: str = ""
    bands: int = 0

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What the clip begins with, [h w 3]."""
        return np.random.default_rng(2).integers(0, 256, (self.height, self.width, 3), np.uint8)


def unpack_ltx(pipeline: Any, latents: torch.Tensor, case: Case) -> torch.Tensor:
    ratio = pipeline.vae_spatial_compression_ratio
    frames = (case.frames - 1) // pipeline.vae_temporal_compression_ratio + 1
    unpacked: torch.Tensor = pipeline._unpack_latents(latents, frames, case.height // ratio, case.width // ratio)
    return unpacked


def frames_first(pipeline: Any, latents: torch.Tensor, case: Case) -> torch.Tensor:
    return latents.transpose(1, 2)


def unpack_flux(pipeline: Any, latents: torch.Tensor, case: Case) -> torch.Tensor:
    unpacked = pipeline._unpack_latents(latents, case.height, case.width, pipeline.vae_scale_factor)
    return unpacked[:, :, None]  # type: ignore[no-any-return]


LTX = {"negative_prompt": NEGATIVE, "frame_rate": 25}
LTX2 = LTX | {
    "frame_rate": 24, "use_cross_timestep": False, "stg_scale": 0.0, "audio_stg_scale": 0.0,
    "audio_guidance_scale": 10.0,
}  # fmt: skip
SKIPPING = {"stg_scale": 1.0, "spatio_temporal_guidance_blocks": [29]}
LTX23 = LTX2 | SKIPPING | {"use_cross_timestep": True, "spatio_temporal_guidance_blocks": [28]}
DISTILLED = {
    "modality_scale": 1.0, "guidance_rescale": 0.0, "audio_guidance_scale": 1.0, "audio_modality_scale": 1.0,
    "audio_guidance_rescale": 0.0,
}  # fmt: skip
HEARD: dict[str, Any] = {"unpack": unpack_ltx, "bands": 2}
HEARD_AND_SEEN = HEARD | {"begins": "LTX2ImageToVideoPipeline"}
PLAIN: dict[str, Any] = {}
CASES = {
    "wan": Case(pipelines.wan, 9, 32, 64),
    "wan with two experts": Case(pipelines.wan_experts, 9, 32, 64),
    "wan with times of tokens": Case(pipelines.wan_5b, 9, 32, 64),
    "wan without guidance": Case(pipelines.wan, 5, 32, 32, guidance=1.0),
    "wan as a picture": Case(pipelines.wan, 1, 32, 32),
    "ltx": Case(pipelines.ltx, 9, 32, 64, call=LTX, unpack=unpack_ltx),
    "ltx2": Case(sound_pipelines.ltx2, 9, 32, 64, call=LTX2 | SKIPPING, **HEARD),
    "ltx2 from 2.3 on": Case(sound_pipelines.ltx23, 9, 32, 64, call=LTX23, **HEARD),
    "ltx2 that skips nothing": Case(sound_pipelines.shallow_ltx2, 9, 32, 32, call=LTX2, **HEARD),
    "ltx2 distilled": Case(sound_pipelines.shallow_ltx2, 5, 32, 32, guidance=1.0, call=LTX2 | DISTILLED, **HEARD),
    "hunyuan": Case(pipelines.hunyuan, 9, 16, 32, call=PLAIN),
    "hunyuan as a picture": Case(pipelines.hunyuan, 1, 16, 32, call=PLAIN),
    "hunyuan15": Case(pipelines.hunyuan15, 5, 32, 32),
    "hunyuan15 of a picture": Case(picture_pipelines.hunyuan15, 5, 32, 32, begins="HunyuanVideo15ImageToVideoPipeline"),
    "cogvideox": Case(pipelines.cogvideox, 9, 32, 48, unpack=frames_first),
    "wan of a picture": Case(picture_pipelines.wan, 9, 32, 64, begins="WanImageToVideoPipeline"),
    "wan of a picture with two experts": Case(
        picture_pipelines.wan_experts, 9, 32, 64, begins="WanImageToVideoPipeline"
    ),
    "wan of a picture with times of tokens": Case(pipelines.wan_5b, 9, 32, 64, begins="WanImageToVideoPipeline"),
    "ltx of a picture": Case(pipelines.ltx, 9, 32, 64, call=LTX, unpack=unpack_ltx, begins="LTXImageToVideoPipeline"),
    "ltx2 of a picture": Case(sound_pipelines.ltx2, 9, 32, 64, call=LTX2 | SKIPPING, **HEARD_AND_SEEN),
    "ltx2 of a picture from 2.3 on": Case(sound_pipelines.ltx23, 9, 32, 64, call=LTX23, **HEARD_AND_SEEN),
    "ltx2 of a picture distilled": Case(
        sound_pipelines.shallow_ltx2, 5, 32, 32, guidance=1.0, call=LTX2 | DISTILLED, **HEARD_AND_SEEN
    ),
    "hunyuan-i2v": Case(picture_pipelines.hunyuan, 9, 16, 32, call=PLAIN, begins="HunyuanVideoImageToVideoPipeline"),
    "cogvideox of a picture": Case(
        picture_pipelines.cogvideox, 9, 32, 48, unpack=frames_first, begins="CogVideoXImageToVideoPipeline"
    ),
    "mochi": Case(pipelines.mochi, 7, 32, 48),
    "flux": Case(pipelines.flux, 1, 16, 24, call=PLAIN, unpack=unpack_flux),
    "flux distilled": Case(
        partial(pipelines.flux, guidance_embeds=False), 1, 16, 24, guidance=None, call=PLAIN, unpack=unpack_flux
    ),
}


@dataclass(frozen=True)
class Films:
    """A film of the library's own: latents [c t h w] and frames uint8 [t h w 3], and of its sound [c t m] and [c n]."""

    latents: NDArray[np.float32]
    frames: NDArray[np.uint8]
    sound_latents: NDArray[np.float32] | None = None
    sound: NDArray[np.float32] | None = None


def library(case: Case, prepare: Callable[[Any], object] = lambda pipeline: None) -> Films:
    """What the library makes of a case, by its pipeline as `prepare` leaves it."""
    pipeline = pipelines.make(case.build)
    if case.begins and type(pipeline).__name__ != case.begins:
        made = {"expand_timesteps": True} if pipeline.config.get("expand_timesteps") else {}
        pipeline = getattr(parts.library(), case.begins)(**pipeline.components, **made)
    pipeline.set_progress_bar_config(disable=True)
    prepare(pipeline)
    given = dict(case.call) | {"num_inference_steps": STEPS}
    sized = {"height": case.height, "width": case.width, "guidance_scale": case.guidance}
    taken = inspect.signature(pipeline.__call__).parameters
    given |= {name: value for name, value in sized.items() if name in taken and value is not None}
    if case.begins:
        given["image"] = Image.fromarray(case.picture)
    has_frames = type(pipeline).__name__ != "FluxPipeline"
    if has_frames:
        given["num_frames"] = case.frames

    def run(output: str) -> Any:
        made = pipeline(prompt=PROMPT, generator=torch.Generator().manual_seed(SEED), output_type=output, **given)
        return made.frames if has_frames else made.images

    if case.bands:
        return _heard(pipeline, case, given)
    latents = case.unpack(pipeline, run("latent"), case)[0].numpy()
    pictures = run("pil")
    return Films(latents, np.stack([np.asarray(picture) for picture in (pictures[0] if has_frames else pictures)]))


def _heard(pipeline: Any, case: Case, given: Mapping[str, Any]) -> Films:
    """A film with its sound, whose normalised latents the pipeline tells after its steps alone."""
    kept: dict[str, torch.Tensor] = {}
    names = pipeline._callback_tensor_inputs = ["latents", "audio_latents"]

    def keep(pipeline: Any, step: int, time: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept.update(tensors)
        return {}

    told = dict(given) | {"callback_on_step_end": keep, "callback_on_step_end_tensor_inputs": names}
    made = pipeline(prompt=PROMPT, generator=torch.Generator().manual_seed(SEED), output_type="pil", **told)
    sound = pipeline._unpack_audio_latents(kept["audio_latents"], kept["audio_latents"].shape[1], case.bands)
    return Films(
        case.unpack(pipeline, kept["latents"], case)[0].numpy(),
        np.stack([np.asarray(picture) for picture in made.frames[0]]),
        sound[0].numpy(),
        made.audio[0].numpy(),
    )
