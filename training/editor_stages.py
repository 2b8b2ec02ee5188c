"""The editor's training runs in the paper's order: single frames, made-up tasks, backtranslation; and at last pictures.

Source: Movie Gen (arXiv 2410.13720), section 5.2; the counts are ours.
"""

from dataclasses import replace

from training.edit_pairs import PairSet
from training.edit_streams import Stream
from training.latents import LatentSet
from training.objectives.edit import EditSettings
from training.recipe import Recipe

CLIPS = LatentSet("train", 8_000)
STILLS = (Stream("edit", PairSet("stills", "train", 6_000, frames=1)),)
ANIMATED = Stream("edit", PairSet("animated", "train", 1_200), 0.35)
HELD_OUT = PairSet("clips", "held_out", 72)
BACK = EditSettings(
    "mini",
    clips=(
        Stream("back", PairSet("targets", "train", 1_200), 0.5),
        Stream("image", replace(CLIPS, count=1_600), 0.15),
        Stream("text", replace(CLIPS, count=1_600), 0.05),
        replace(ANIMATED, share=0.3),
    ),
    stills=STILLS,
    held_out=HELD_OUT,
    still_share=0.2,
    canonical_share=0.75,
    touched_weight=4.0,
    start="editor_mini_edits",
)
NANO_CLIPS = LatentSet("train", 8, size=32, frames=16)
NANO_PAIRS = PairSet("animated", "train", 8, size=32, frames=16)


def _of_pictures(targets: PairSet, back: float, told: float, moving: float) -> tuple[Stream, ...]:
    """Clips from their first frames, told whole and told in part, beside edits."""
    clips = replace(CLIPS, count=4_000)
    return (
        Stream("back", targets, back),
        Stream("image", clips, told),
        Stream("moving", clips, moving),
        replace(ANIMATED, share=0.2),
    )


def _tuned(name: str, settings: EditSettings, steps: int, own_share: float = 1.0) -> Recipe:
    """A stage that changes gently what an earlier one learned."""
    return Recipe(
        name=name,
        component="editor",
        settings=settings,
        steps=steps,
        matrix_rate=0.01,
        vector_rate=5e-4,
        own_share=own_share,
        flat=0.5,
        storage="int8",
        validate_every=100,
        checkpoint_every=40,
    )


EDITOR_ROWS = [
    Recipe(
        name="editor_nano",
        component="editor",
        settings=EditSettings(
            "nano",
            clips=(
                Stream("text", NANO_CLIPS),
                Stream("image", NANO_CLIPS),
                Stream("edit", NANO_PAIRS),
                Stream("edit", replace(NANO_PAIRS, form="marked")),
                Stream("back", replace(NANO_PAIRS, form="targets")),
            ),
            stills=(Stream("edit", replace(NANO_PAIRS, form="stills", frames=1)),),
            held_out=PairSet("clips", "held_out", 6, size=32, frames=16),
            clip_batch=6,
            still_batch=8,
            still_share=0.5,
            judged=False,
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
        name="editor_mini_stills",
        component="editor",
        settings=EditSettings(
            "mini", (Stream("text", CLIPS),), STILLS, HELD_OUT, still_share=5 / 6, start="dit_mini_tuned"
        ),
        steps=160,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=1.0,
        validate_every=80,
        checkpoint_every=40,
    ),
    Recipe(
        name="editor_mini_tasks",
        component="editor",
        settings=EditSettings(
            "mini",
            clips=(
                Stream("text", CLIPS, 0.2),
                Stream("image", CLIPS, 0.3),
                ANIMATED,
                Stream("edit", PairSet("marked", "train", 900), 0.15),
            ),
            stills=STILLS,
            held_out=HELD_OUT,
            start="editor_mini_stills",
        ),
        steps=220,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=1.0,
        validate_every=110,
        checkpoint_every=40,
    ),
    Recipe(
        name="editor_mini_edits",
        component="editor",
        settings=EditSettings(
            "mini",
            clips=(
                Stream("text", CLIPS, 0.05),
                Stream("image", CLIPS, 0.2),
                replace(ANIMATED, share=0.35),
                Stream("edit", PairSet("animated", "train", 1_200, seed=1), 0.35),
                Stream("edit", PairSet("marked", "train", 900), 0.05),
            ),
            stills=(*STILLS, Stream("edit", PairSet("stills", "train", 6_000, frames=1, seed=1))),
            held_out=HELD_OUT,
            still_share=0.3,
            canonical_share=0.75,
            touched_weight=4.0,
            start="editor_mini_tasks",
        ),
        steps=3000,
        matrix_rate=0.02,
        vector_rate=1e-3,
        flat=0.6,
        storage="int8",
        validate_every=100,
        checkpoint_every=40,
    ),
    _tuned("editor_mini_back", BACK, 750, own_share=0.65),
    _tuned(
        "editor_mini_again",
        replace(
            BACK,
            clips=(Stream("back", PairSet("targets", "train", 1_200, seed=1), 0.5), *BACK.clips[1:]),
            start="editor_mini_back",
        ),
        700,
        own_share=0.65,
    ),
    _tuned(
        "editor_mini_moving",
        replace(
            BACK,
            clips=_of_pictures(PairSet("targets", "train", 1_200, seed=1), back=0.3, told=0.15, moving=0.35),
            still_share=0.1,
            start="editor_mini_again",
        ),
        1500,
    ),
    _tuned(
        "editor_mini_pictures",
        replace(
            BACK,
            clips=_of_pictures(PairSet("targets", "train", 400, seed=2), back=0.2, told=0.1, moving=0.5),
            still_share=0.1,
            start="editor_mini_moving",
        ),
        1300,
    ),
]
