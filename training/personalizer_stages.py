"""The training runs of the identity encoder and of the personalizer, in the paper's order.

Source: Movie Gen (arXiv 2410.13720), section 4.2; the counts are ours.
"""

from training.objectives.identity import IdentitySettings
from training.recipe import Recipe

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
]
