"""The generator's training runs in the paper's order: frames, joint with clips, tuned, further aspects and lengths.

Source: Movie Gen (arXiv 2410.13720), section 3.2.3; that a block is left out on the way, and the counts, are ours.
"""

from dataclasses import replace

from kino.shapes import ASPECTS, size_for_aspect
from training.latents import LatentSet
from training.objectives.dit import DitSettings
from training.recipe import Recipe

STILLS = LatentSet("train", 16_000, frames=1)
HELD_OUT_STILLS = LatentSet("held_out", 80, frames=1)
VIDEOS = LatentSet("train", 8_000)
MORE_VIDEOS = LatentSet("train", 20_000)
HELD_OUT_VIDEOS = LatentSet("held_out", 80)
SIZES = [size_for_aspect(aspect, 96) for aspect in ASPECTS if aspect != "1:1"]
ASPECT_CLIPS = tuple(LatentSet("train", 800, (size.height, size.width), seed=3) for size in SIZES)
LONGER = LatentSet("train", 400, frames=64, seed=3)

_NANO = DitSettings(
    "nano",
    LatentSet("train", 8, size=32, frames=16),
    LatentSet("train", 8, size=32, frames=1),
    LatentSet("held_out", 8, size=32, frames=16),
    video_batch=4,
    still_batch=8,
    still_share=0.5,
    align_layer=1,
)


def _nano(name: str, settings: DitSettings) -> Recipe:
    """A run of seconds, which shows that a stage works and makes nothing to look at."""
    return Recipe(
        name=name,
        component="dit",
        settings=settings,
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    )


GENERATOR_ROWS = [
    _nano("dit_nano", _NANO),
    _nano("dit_nano_images", replace(_NANO, videos=None, held_out=LatentSet("held_out", 8, size=32, frames=1))),
    _nano("dit_nano_joint", replace(_NANO, start="dit_nano_images")),
    _nano("dit_nano_tuned", replace(_NANO, canonical_share=0.7, start="dit_nano_joint")),
    Recipe(
        name="dit_mini_images",
        component="dit",
        settings=DitSettings("mini", None, STILLS, HELD_OUT_STILLS, layers=6),
        steps=250,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=1.0,
        validate_every=100,
        checkpoint_every=50,
    ),
    Recipe(
        name="dit_mini_joint",
        component="dit",
        settings=DitSettings("mini", VIDEOS, STILLS, HELD_OUT_VIDEOS, layers=6, start="dit_mini_images"),
        steps=340,
        matrix_rate=0.02,
        vector_rate=1e-3,
        validate_every=200,
        checkpoint_every=50,
    ),
    Recipe(
        name="dit_mini_pruned",
        component="dit",
        settings=DitSettings(
            "mini", MORE_VIDEOS, STILLS, HELD_OUT_VIDEOS, align_layer=2, start="dit_mini_joint", pruned=2
        ),
        steps=1000,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=1.0,
        validate_every=200,
        checkpoint_every=50,
    ),
    Recipe(
        name="dit_mini_tuned",
        component="dit",
        settings=DitSettings(
            "mini",
            MORE_VIDEOS,
            STILLS,
            HELD_OUT_VIDEOS,
            still_share=0.1,
            canonical_share=0.7,
            align_layer=2,
            chosen=250,
            start="dit_mini_pruned",
        ),
        steps=700,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=0.3,
        validate_every=100,
        checkpoint_every=50,
    ),
    Recipe(
        name="dit_mini_aspects",
        component="dit",
        settings=DitSettings(
            "mini",
            replace(MORE_VIDEOS, count=4_000),
            replace(STILLS, count=4_000),
            HELD_OUT_VIDEOS,
            still_share=0.1,
            others=(*ASPECT_CLIPS, LONGER),
            others_share=0.75,
            canonical_share=0.7,
            align_layer=2,
            start="dit_mini_tuned",
        ),
        steps=500,
        matrix_rate=0.01,
        vector_rate=5e-4,
        own_share=0.5,
        flat=0.3,
        storage="int8",
        validate_every=100,
        checkpoint_every=25,
    ),
]
