"""The training runs of the identity encoder and of the personalizer, in the paper's order.

Source: Movie Gen (arXiv 2410.13720), section 4.2; the counts are ours.
"""

from dataclasses import replace

from training.objectives.identity import IdentitySettings
from training.objectives.personalizer import PersonalizerSettings
from training.people import PeopleSet
from training.recipe import Recipe

CLIPS = PeopleSet("train", 2_000)
MORE_CLIPS = PeopleSet("train", 6_000, seed=2)
STILLS = PeopleSet("train", 4_000, frames=1, seed=1)
HELD_OUT = PeopleSet("held_out", 60)
NANO = PeopleSet("train", 8, size=32, frames=16)

PERSONALIZER_ROWS = [
    Recipe(
        name="identity_nano",
        component="identity",
        settings=IdentitySettings("nano", portraits=8, frames=4, reconstructed=4, clips=4, length=16, held_out=8),
        steps=20,
        matrix_rate=0.02,
        vector_rate=1e-3,
        warmup=2,
        log_every=5,
        validate_every=10,
        checkpoint_every=10,
    ),
    Recipe(
        name="identity_mini",
        component="identity",
        settings=IdentitySettings("mini"),
        steps=400,
        matrix_rate=0.01,
        vector_rate=1e-3,
        flat=0.5,
        validate_every=200,
    ),
    Recipe(
        name="personalizer_nano",
        component="personalizer",
        settings=PersonalizerSettings(
            "nano",
            NANO,
            replace(NANO, frames=1),
            replace(NANO, split="held_out"),
            clip_batch=4,
            still_batch=8,
            still_share=0.5,
            cross_share=0.5,
            portraits=2,
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
        name="personalizer_mini_same",
        component="personalizer",
        settings=PersonalizerSettings("mini", CLIPS, STILLS, HELD_OUT, still_share=0.75, start="dit_mini_tuned"),
        steps=240,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=1.0,
        validate_every=120,
        checkpoint_every=40,
    ),
    Recipe(
        name="personalizer_mini_cross",
        component="personalizer",
        settings=PersonalizerSettings(
            "mini", CLIPS, STILLS, HELD_OUT, still_share=0.3, cross_share=1.0, start="personalizer_mini_same"
        ),
        steps=200,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=1.0,
        validate_every=100,
        checkpoint_every=40,
    ),
    Recipe(
        name="personalizer_mini_natural",
        component="personalizer",
        settings=PersonalizerSettings(
            "mini",
            CLIPS,
            STILLS,
            HELD_OUT,
            still_share=0.1,
            cross_share=0.5,
            canonical_share=0.75,
            start="personalizer_mini_cross",
        ),
        steps=900,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=0.3,
        storage="int8",
        validate_every=100,
        checkpoint_every=40,
    ),
    Recipe(
        name="personalizer_mini_likeness",
        component="personalizer",
        settings=PersonalizerSettings(
            "mini",
            MORE_CLIPS,
            STILLS,
            HELD_OUT,
            still_share=0.1,
            cross_share=0.8,
            canonical_share=0.75,
            start="personalizer_mini_natural",
        ),
        steps=1300,
        matrix_rate=0.01,
        vector_rate=5e-4,
        flat=0.3,
        storage="int8",
        validate_every=100,
        checkpoint_every=40,
    ),
]
