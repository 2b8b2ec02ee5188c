"""Train a component: python -m training.train --recipe NAME [--resume] [--compile] [--runs FOLDER] [--threads N]."""

import argparse
import copy
import logging
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import checkpoint
from training.objective import Objective
from training.optim import Muon, rate, split_parameters, update_average
from training.plots import plot_metrics
from training.recipe import Recipe
from training.recipes import RECIPES

logger = logging.getLogger("training")
LONG_SEQUENCE = 10
"""Layers of a sequence that is a network of its own, as the codec's halves are."""


def device_of_run() -> torch.device:
    """The accelerator when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_generator(seed: int, step: int) -> torch.Generator:
    """Source of all randomness of one step: a resumed run draws what the undisturbed one would have drawn."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Run:
    """State of one training run: model, average, optimisers, step."""

    def __init__(self, recipe: Recipe, objective: Objective, folder: Path) -> None:
        self.recipe, self.objective, self.folder = recipe, objective, folder
        self.device = device_of_run()
        self.model = objective.model.to(self.device)
        self.average: nn.Module = copy.deepcopy(self.model).requires_grad_(False)
        matrices, others = split_parameters(self.model)
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.matrix_rate, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(others, lr=recipe.vector_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.rates = [recipe.matrix_rate, recipe.vector_rate]
        self.step = 0
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on."""
        return {
            "recipe": self.recipe.name,
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def restore(self) -> None:
        """Continue from the folder's checkpoint."""
        state = checkpoint.load(self.folder)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.seconds = checkpoint.truncate_metrics(self.folder, self.step)

    def advance(self) -> dict[str, float]:
        """Take one optimiser step; return its loss terms."""
        recipe, generator = self.recipe, step_generator(self.recipe.seed, self.step)
        factor = rate(self.step, recipe.steps, recipe.warmup, recipe.flat)
        for optimiser, base in zip(self.optimisers, self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * factor
            optimiser.zero_grad(set_to_none=True)
        batch = self.objective.batch(generator)
        with torch.autocast(self.device.type, torch.bfloat16) if recipe.autocast else nullcontext():
            terms = self.objective.loss(batch, generator)
        terms["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{recipe.name}: gradient norm is {norm.item()} at step {self.step}")
        for optimiser in self.optimisers:
            optimiser.step()
        update_average(self.average, self.model, recipe.average_decay, self.step)
        self.step += 1
        return {name: term.item() for name, term in terms.items()} | {"norm": norm.item()}

    def train(self) -> None:
        """Run to the recipe's last step, with metrics, validation, samples and checkpoints on the way."""
        recipe, started, before = self.recipe, time.monotonic(), self.seconds
        while self.step < recipe.steps:
            terms = self.advance()
            self.seconds = before + time.monotonic() - started
            last = self.step == recipe.steps
            if self.step % recipe.log_every == 0 or last:
                checkpoint.append_metrics(self.folder, self.step - 1, terms | {"seconds": self.seconds})
                text = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
                logger.info("%s step %d/%d %s %.0f s", recipe.name, self.step, recipe.steps, text, self.seconds)
            if self.step % recipe.validate_every == 0 or last:
                self.validate()
            if self.step % recipe.checkpoint_every == 0 or last:
                checkpoint.save(self.folder, self.state())

    def validate(self) -> None:
        """Figures, a loss plot and a sample of the averaged weights."""
        self.average.eval()
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.autocast):
            figures = self.objective.validate(self.average)
            self.objective.sample(self.average, self.folder / f"sample_{self.step:06d}.png")
        checkpoint.append_metrics(self.folder, self.step - 1, figures | {"seconds": self.seconds})
        logger.info("%s validation %s", self.recipe.name, " ".join(f"{k} {v:.4f}" for k, v in figures.items()))
        plot_metrics(self.folder)


def compile_blocks(model: nn.Module) -> None:
    """Compile every repeated block in place, once for all shapes (regional compilation), and long sequences whole."""
    for layers in model.modules():
        for block in layers if isinstance(layers, nn.ModuleList) else ():
            block.compile(dynamic=True)
        if isinstance(layers, nn.Sequential) and len(layers) >= LONG_SEQUENCE:
            layers.compile()


def train(recipe: Recipe, runs: Path, resume: bool, compiled: bool = False) -> Run:
    """Train a recipe into runs/<name>. Without `resume` an existing checkpoint is an error: nothing is overwritten."""
    folder = runs / recipe.name
    if not resume and (folder / checkpoint.FILE_NAME).exists():
        raise ValueError(f"{folder} already holds a checkpoint; pass --resume to continue it or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    run = Run(recipe, recipe.settings.build(runs), folder)
    if resume and (folder / checkpoint.FILE_NAME).exists():
        run.restore()
    if compiled:
        compile_blocks(run.model)
    run.train()
    return run


def main() -> None:
    """Command line of the trainer."""
    parser = argparse.ArgumentParser(description="Train one component by its recipe.")
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES))
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint if there is one")
    parser.add_argument("--compile", action="store_true", help="compile the blocks: a later start, faster steps")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and curves")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    try:
        train(RECIPES[arguments.recipe], arguments.runs, arguments.resume, arguments.compile)
    except (ValueError, FloatingPointError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
