"""Train a component: python -m training.train --recipe NAME [--resume] [--compile] [--runs FOLDER] [--threads N].

Under torchrun every worker does its share: torchrun --nproc-per-node 8 -m training.train --recipe NAME --resume. One
that dies is started again with the others, and they go on from the last checkpoint. Where the machines share no folder,
--store names a store that they do share.
"""

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

from kino.registry import Registry
from kino.store import StoreError
from training import checkpoint
from training.objective import Objective
from training.optim import Muon, rate, split_parameters, update_average
from training.plots import plot_metrics
from training.published import MODELS, version_of
from training.recipe import Recipe
from training.recipes import RECIPES
from training.run_store import RunStore
from training.workers import ALONE, Workers, join, leave

logger = logging.getLogger("training")
LONG_SEQUENCE = 10
"""Layers of a sequence that is a network of its own, as the codec's halves are."""


def device_of_run() -> torch.device:
    """The accelerator when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_generator(seed: int, step: int, workers: Workers = ALONE) -> torch.Generator:
    """Source of all randomness of one step: a resumed run draws what the undisturbed one would have drawn."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * workers.count + workers.rank)


class Run:
    """State of one training run: model, average, optimisers, step.

    Args:
        store: where checkpoints and figures go besides the folder, None for nowhere.
    """

    def __init__(
        self,
        recipe: Recipe,
        objective: Objective,
        folder: Path,
        workers: Workers = ALONE,
        store: RunStore | None = None,
    ) -> None:
        self.recipe, self.objective, self.folder = recipe, objective, folder
        self.workers, self.store = workers, store
        self.device = device_of_run()
        self.model = objective.model.to(self.device)
        self.average: nn.Module = copy.deepcopy(self.model).requires_grad_(False)
        self.start = copy.deepcopy(self.model.state_dict()) if recipe.own_share < 1 else {}
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
        if self.workers.first:
            self.seconds = checkpoint.truncate_metrics(self.folder, self.step)

    def advance(self) -> dict[str, float]:
        """Take one optimiser step; return its loss terms."""
        recipe, generator = self.recipe, step_generator(self.recipe.seed, self.step, self.workers)
        factor = rate(self.step, recipe.steps, recipe.warmup, recipe.flat)
        for optimiser, base in zip(self.optimisers, self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * factor
            optimiser.zero_grad(set_to_none=True)
        batch = self.objective.batch(generator)
        with torch.autocast(self.device.type, torch.bfloat16) if recipe.autocast else nullcontext():
            terms = self.objective.loss(batch, generator)
        terms["loss"].backward()
        self.workers.average_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{recipe.name}: gradient norm is {norm.item()} at step {self.step}")
        for optimiser in self.optimisers:
            optimiser.step()
        update_average(self.average, self.model, recipe.average_decay, self.step)
        self.step += 1
        figures = self.workers.average({name: term.item() for name, term in terms.items()}, self.device)
        return figures | {"norm": norm.item()}

    def train(self) -> None:
        """Run to the recipe's last step, with metrics, validation, samples and checkpoints on the way."""
        recipe, started, before = self.recipe, time.monotonic(), self.seconds
        while self.step < recipe.steps:
            terms = self.advance()
            self.seconds = before + time.monotonic() - started
            if not self.workers.first:
                continue
            last = self.step == recipe.steps
            if last:
                self.join()
            if self.step % recipe.log_every == 0 or last:
                checkpoint.append_metrics(self.folder, self.step - 1, terms | {"seconds": self.seconds})
                text = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
                logger.info("%s step %d/%d %s %.0f s", recipe.name, self.step, recipe.steps, text, self.seconds)
            if self.step % recipe.validate_every == 0 or last:
                self.validate()
            if self.step % recipe.checkpoint_every == 0 or last:
                checkpoint.save(self.folder, self.state())
                if self.store is not None:
                    self.store.save(self.folder)

    def join(self) -> None:
        """Let the average be the recipe's share of itself, and of the weights that the run began with."""
        with torch.no_grad():
            for name, tensor in self.average.state_dict().items():
                if name in self.start and tensor.is_floating_point():
                    tensor.lerp_(self.start[name], 1 - self.recipe.own_share)

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


def train(recipe: Recipe, runs: Path, resume: bool, compiled: bool = False, store: str = "") -> Run:
    """Train a recipe into runs/<name>. Without `resume` an existing checkpoint is an error: nothing is overwritten.

    Args:
        store: URL of a store that gets checkpoints and figures too, and whose checkpoint is resumed; empty for none.
    """
    workers, kept = join(), RunStore(store, recipe.name) if store else None
    folder = runs / recipe.name
    try:
        held = kept.latest() if kept is not None else ""
        found = workers.agree(held or _checkpoint(folder))
        if found and not resume:
            raise ValueError(f"{found} already holds a checkpoint; pass --resume to continue it or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        run = Run(recipe, _build(recipe, runs, workers, kept), folder, workers, kept)
        if kept is not None and found.startswith("kino://"):
            kept.fetch(found, folder, figures=workers.first)
        if found:
            run.restore()
        if compiled:
            compile_blocks(run.model)
        run.train()
        if kept is not None and workers.first:
            kept.finish(run.step)
        workers.wait()  # for the last checkpoint
    finally:
        leave(workers)
    return run


def _checkpoint(folder: Path) -> str:
    path = folder / checkpoint.FILE_NAME
    return str(path) if path.exists() else ""


def _build(recipe: Recipe, runs: Path, workers: Workers, kept: RunStore | None) -> Objective:
    """Make the objective; the first worker of each machine goes ahead and leaves the others the data it has made."""
    if workers.local_rank:
        workers.wait()
    else:
        _open_earlier(recipe, runs, kept)
    objective = recipe.settings.build(runs)
    if not workers.local_rank:
        workers.wait()
    return objective


def _open_earlier(recipe: Recipe, runs: Path, kept: RunStore | None) -> None:
    """Bring what earlier stages have left in the store: latents, and the weights to begin with.

    Raises:
        ValueError: the stage that the recipe goes on from has no checkpoint and no published version.
    """
    if kept is not None:
        kept.fetch_latents(runs / "latents")
    start = runs / recipe.start
    if not recipe.start or (start / checkpoint.FILE_NAME).exists():
        return
    earlier = RunStore(kept.url, recipe.start) if kept is not None else None
    found = earlier.latest() if earlier is not None else ""
    if earlier is not None and found:
        start.mkdir(parents=True, exist_ok=True)
        earlier.fetch(found, start, figures=False)
    elif version := version_of(recipe.start, Registry(MODELS)):
        logger.info("%s goes on from %s/%s", recipe.name, version.component, version.version)
    else:
        raise ValueError(f"{recipe.name} goes on from {recipe.start}, which has no checkpoint yet: train that first")


def main() -> None:
    """Command line of the trainer."""
    parser = argparse.ArgumentParser(description="Train one component by its recipe.")
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES))
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint if there is one")
    parser.add_argument("--compile", action="store_true", help="compile the blocks: a later start, faster steps")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and curves")
    parser.add_argument("--store", default="", metavar="URL", help="store that gets them too: a folder or s3://bucket")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    try:
        train(RECIPES[arguments.recipe], arguments.runs, arguments.resume, arguments.compile, arguments.store)
    except (ValueError, FloatingPointError, StoreError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
