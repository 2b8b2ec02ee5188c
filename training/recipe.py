"""What one training run is: a component, its settings, its steps and rates."""

from dataclasses import dataclass

from kino.weights import Storage
from training.objective import Settings


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Args:
        matrix_rate: learning rate of Muon (weight matrices).
        vector_rate: learning rate of AdamW (everything else).
        warmup: steps of linear warm-up.
        flat: share of the steps after which the rate falls linearly.
        average_decay: decay of the weight average that is validated and published.
        own_share: share of that average in what the run ends with; the rest are the weights that it began with, since
            models tuned in different ways do better joined (Movie Gen, arXiv 2410.13720, averages them as Llama 3).
        clip: largest gradient norm.
        autocast: compute in bf16 with fp32 master weights.
        storage: how the matrices of the published version are stored.
    """

    name: str
    component: str
    settings: Settings
    steps: int
    matrix_rate: float
    vector_rate: float
    warmup: int = 20
    flat: float = 0.6
    weight_decay: float = 0.0
    average_decay: float = 0.99
    own_share: float = 1.0
    clip: float = 1.0
    autocast: bool = True
    storage: Storage = "bf16"
    seed: int = 0
    log_every: int = 20
    validate_every: int = 200
    checkpoint_every: int = 100

    @property
    def start(self) -> str:
        """Name of the recipe whose averaged weights the run begins with, empty where it begins anew."""
        return getattr(self.settings, "start", None) or ""
