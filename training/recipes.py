"""Every training run there is, one frozen row each, in the order in which they stand on another."""

from training.data import ClipSet, SoundSet
from training.editor_stages import EDITOR_ROWS
from training.generator_stages import GENERATOR_ROWS
from training.hd_crops import HdCrops
from training.objectives.audio import AudioSettings
from training.objectives.codec import CodecSettings
from training.objectives.contrast import ContrastSettings
from training.objectives.decoder import DecoderSettings
from training.objectives.rewriter import RewriterSettings
from training.objectives.sound_text import SoundTextSettings
from training.objectives.tae import TaeSettings
from training.objectives.towers import DenoiseSettings
from training.objectives.upsampler import UpsamplerSettings
from training.objectives.vision import VisionSettings
from training.people import PeopleClips
from training.personalizer_stages import PERSONALIZER_ROWS
from training.recipe import Recipe
from training.soundtracks import Soundtracks
from training.world.scene import RICH

ROWS = [
    Recipe(
        name="tae_nano",
        component="tae",
        settings=TaeSettings(
            "nano", ClipSet("train", 8, size=32), ClipSet("held_out", 8, size=32), frames_per_batch=32
        ),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="tae_mini",
        component="tae",
        settings=TaeSettings("mini", ClipSet("train", 3000), ClipSet("held_out", 64)),
        steps=1800,
        matrix_rate=0.02,
        vector_rate=1e-3,
    ),
    Recipe(
        name="tae_nano_decoder",
        component="tae",
        settings=DecoderSettings(
            "nano",
            ClipSet("train", 8, size=32, mixture=RICH),
            PeopleClips("train", 8, size=32),
            ClipSet("held_out", 8, size=32, mixture=RICH),
            PeopleClips("held_out", 8, size=32),
            frames_per_batch=32,
            start="tae_nano",
        ),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="tae_mini_decoder",
        component="tae",
        settings=DecoderSettings(
            "mini",
            ClipSet("train", 3000, seed=1, mixture=RICH),
            PeopleClips("train", 2000, seed=1),
            ClipSet("held_out", 64),
            PeopleClips("held_out", 64),
        ),
        steps=4500,
        matrix_rate=0.015,
        vector_rate=1e-3,
        flat=0.4,
    ),
    Recipe(
        name="codec_nano",
        component="codec",
        settings=CodecSettings(
            "nano", SoundSet("train", 4, seconds=2), SoundSet("held_out", 4, seconds=2), batch=4, latents=10
        ),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="codec_mini",
        component="codec",
        settings=CodecSettings("mini", SoundSet("train", 2000), SoundSet("held_out", 64)),
        steps=1000,
        matrix_rate=0.005,  # its layers have no norms: at 0.02 the latents grew without bound
        vector_rate=1e-3,
    ),
    Recipe(
        name="vision_nano",
        component="vision",
        settings=VisionSettings("nano", scenes=4, frames=2, held_out=8),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="vision_mini",
        component="vision",
        settings=VisionSettings("mini"),
        steps=900,
        matrix_rate=0.01,
        vector_rate=1e-3,
    ),
    Recipe(
        name="t5_mini",
        component="t5",
        settings=SoundTextSettings("mini"),
        steps=300,
        matrix_rate=0.02,
        vector_rate=2e-3,
    ),
    Recipe(
        name="audio_nano",
        component="audio",
        settings=AudioSettings(
            "nano",
            Soundtracks("train", 4, seconds=2, size=16),
            Soundtracks("held_out", 4, seconds=2, size=16),
            batch=4,
            lengths=(25, 50),
            align_layer=1,
        ),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="audio_mini",
        component="audio",
        settings=AudioSettings("mini", Soundtracks("train", 4000), Soundtracks("held_out", 64)),
        steps=1200,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=0.4,
    ),
    Recipe(
        name="audio_mini_tuned",
        component="audio",
        settings=AudioSettings(
            "mini", Soundtracks("train", 4000), Soundtracks("held_out", 64), balanced=True, start="audio_mini"
        ),
        steps=360,
        matrix_rate=0.01,
        vector_rate=5e-4,
        flat=0.3,
        storage="int8",
    ),
    Recipe(
        name="audio_mini_even",
        component="audio",
        settings=AudioSettings(
            "mini",
            Soundtracks("train", 3200, seed=2, even=True),
            Soundtracks("held_out", 64),
            start="audio_mini_tuned",
        ),
        steps=800,
        matrix_rate=0.01,
        vector_rate=5e-4,
        flat=0.3,
        storage="int8",
    ),
    *GENERATOR_ROWS,
    Recipe(
        name="ul2_mini",
        component="ul2",
        settings=DenoiseSettings("mini", "ul2"),
        steps=300,
        matrix_rate=0.02,
        vector_rate=2e-3,
    ),
    Recipe(
        name="byt5_mini",
        component="byt5",
        settings=DenoiseSettings("mini", "byt5"),
        steps=600,
        matrix_rate=0.02,
        vector_rate=2e-3,
    ),
    Recipe(
        name="metaclip_mini",
        component="metaclip",
        settings=ContrastSettings(
            "mini",
            "metaclip",
            ClipSet("train", 8000, size=48, frames=4, fps=2, seed=1),
            ClipSet("held_out", 400, size=48, frames=4, fps=2, seed=1),
        ),
        steps=200,
        matrix_rate=0.02,
        vector_rate=2e-3,
    ),
    Recipe(
        name="rewriter_mini",
        component="rewriter",
        settings=RewriterSettings("mini", batch=48),
        steps=400,
        matrix_rate=0.02,
        vector_rate=2e-3,
        validate_every=200,
    ),
    Recipe(
        name="upsampler_nano",
        component="upsampler",
        settings=UpsamplerSettings(
            "nano",
            HdCrops("train", 4, crops=2, size=128, first_stage=32, crop=32, clip_frames=8),
            HdCrops("held_out", 5, crops=2, size=128, first_stage=32, crop=32, clip_frames=8),
            batch=4,
            factors=(2.0, 4.0),
        ),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="upsampler_mini",
        component="upsampler",
        settings=UpsamplerSettings("mini", HdCrops("train", 400, crops=10), HdCrops("held_out", 16, crops=2)),
        steps=2000,
        matrix_rate=0.01,
        vector_rate=1e-3,
        flat=0.4,
        storage="int8",
        validate_every=250,
        checkpoint_every=50,
    ),
    *EDITOR_ROWS,
    *PERSONALIZER_ROWS,
]
RECIPES = {row.name: row for row in ROWS}


def stages(recipe: Recipe) -> list[Recipe]:
    """The runs of a component that lead up to a recipe, itself last."""
    before = RECIPES.get(recipe.start)
    if before is None or before.component != recipe.component:
        return [recipe]
    return [*stages(before), recipe]
