"""Encode the latents that a recipe and the stages before it learn from: python -m training.encode --recipe NAME.

Training encodes what it finds missing; where every stage is a machine of its own, doing it once and keeping the result
in a store (--store URL) spares each of them the work.
"""

import argparse
import logging
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch

from kino.registry import Registry
from kino.store import StoreError
from training.edit_pairs import PairSet, open_pairs
from training.latents import LatentSet, open_latents
from training.published import MODELS, open_tae
from training.recipe import Recipe
from training.recipes import RECIPES, stages
from training.run_store import RunStore


def latent_sets(settings: object) -> Iterator[LatentSet | PairSet]:
    """Yield every set of latents that settings name, at any depth."""
    if isinstance(settings, LatentSet | PairSet):
        yield settings
    elif is_dataclass(settings):
        for field in fields(settings):
            yield from latent_sets(getattr(settings, field.name))
    elif isinstance(settings, tuple):
        for part in settings:
            yield from latent_sets(part)


def encode(recipe: Recipe, runs: Path) -> list[Path]:
    """Encode the latents of a recipe into runs/latents, as far as they are not there, and return their files."""
    tae, manifest = open_tae(recipe.settings.preset, Registry(MODELS))
    space, folder, files = manifest.latent_space, runs / "latents", set[Path]()
    for items in latent_sets(recipe.settings):
        if isinstance(items, PairSet):
            open_pairs(items, tae, space, folder)
        else:
            open_latents(items, tae, space, folder)
        files |= set(folder.glob(f"{items.key(space)}.*"))
    return sorted(files)


def main() -> None:
    """Command line of the encoder."""
    parser = argparse.ArgumentParser(description="Encode what a recipe and the stages before it learn from.")
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--store", default="", metavar="URL", help="store that gets them too: a folder or s3://bucket")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    try:
        for recipe in stages(RECIPES[arguments.recipe]):
            kept = RunStore(arguments.store, recipe.name) if arguments.store else None
            if kept is not None:
                kept.fetch_latents(arguments.runs / "latents")
            files = encode(recipe, arguments.runs)
            if kept is not None:
                kept.save_latents(files)
            print(f"{recipe.name}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    except (ValueError, StoreError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
