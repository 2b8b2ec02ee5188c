"""Linear read-outs of a scene's facts from a tower's features: a loss that makes them easy to read, and its score."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn

from kino.models.text import Tower, TowerConfig
from training.objective import Batch
from training.objectives.captions import CLASSES


class FactHeads(nn.Module):
    """Linear read-outs of a scene's facts from the first row, and again from the mean, of a tower's features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, sum(CLASSES.values()))
        self.mean = nn.Linear(width, sum(CLASSES.values()))

    def forward(
        self, features: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logits [b, classes] of each fact, by the first row and by the mean of all rows."""
        mean = features.sum(1) / mask.sum(1, keepdim=True)
        return split_facts(self.first(features[:, 0])), split_facts(self.mean(mean))


class TowerNet(nn.Module):
    """A tower and the read-outs of facts; the objectives add what else they train it with."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.tower = Tower(config)
        self.heads = FactHeads(config.width)


def split_facts(logits: Float[Tensor, "b classes"]) -> dict[str, Tensor]:
    """The logits of each fact, by its name."""
    return dict(zip(CLASSES, torch.split(logits, list(CLASSES.values()), dim=-1), strict=True))


def fact_loss(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Mean cross-entropy over the facts."""
    terms = [F.cross_entropy(logits[name].float(), target.to(logits[name].device)) for name, target in targets.items()]
    return torch.stack(terms).mean()


def fact_accuracy(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, float]:
    """Share of scenes whose fact is read rightly, by fact."""
    return {name: (logits[name].argmax(-1).cpu() == target).float().mean().item() for name, target in targets.items()}


def whole_features(model: TowerNet, batch: Batch) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
    """The tower's features of the whole captions, and their mask."""
    ids, mask = (part.to(device_of(model)) for part in batch["whole"])
    return model.tower(ids, mask), mask


def read_loss(model: TowerNet, features: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"], batch: Batch) -> Tensor:
    """Cross-entropy of the facts read out of the first row, plus that of the mean of the rows."""
    first, mean = model.heads(features, mask)
    return fact_loss(first, batch["facts"]) + fact_loss(mean, batch["facts"])


def read_accuracy(
    model: TowerNet, features: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"], batch: Batch
) -> dict[str, float]:
    """Accuracy of each fact's read-out from the first row and from the mean of the rows."""
    first, mean = model.heads(features, mask)
    rows = {f"held_out_{name}": value for name, value in fact_accuracy(first, batch["facts"]).items()}
    return rows | {f"held_out_{name}_mean": value for name, value in fact_accuracy(mean, batch["facts"]).items()}


def rng_of(generator: torch.Generator) -> np.random.Generator:
    """A numpy source seeded by the next number of a torch one."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie."""
    return next(model.parameters()).device


def draw_cosines(rows: Float[Tensor, "n d"], others: Float[Tensor, "n d"], path: Path) -> None:
    """Write the cosines of every row with every other as a picture."""
    draw_matrix(F.normalize(rows.float(), dim=-1) @ F.normalize(others.float(), dim=-1).T, path)


def draw_matrix(values: Float[Tensor, "n n"], path: Path) -> None:
    """Write a matrix as a grey picture, 8 pixels a value, the lowest black and the highest white."""
    values = values.float().cpu()
    levels = (values - values.min()) / (values.max() - values.min()) * 255
    Image.fromarray(levels.byte().repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()).save(path)
