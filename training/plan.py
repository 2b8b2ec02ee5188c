"""The order in which networks are trained, and all of it on this machine: python -m training.plan run --plan mini.

A plan names the last recipe of each component; the stages before it, and what each stands on, follow from the recipes.
A stage is done when its output is there: `run` skips it, and so goes on where it stopped. `list` shows the stages.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kino.registry import Registry
from kino.store import NotFoundError
from training import checkpoint
from training.encode import latent_sets
from training.published import MODELS, PARTS, part
from training.recipes import RECIPES, stages

PLANS = {
    "nano": ("tae_nano", "dit_nano_tuned"),
    "mini": (
        *("tae_mini_decoder", "codec_mini", "vision_mini", "identity_mini", "t5_mini", "audio_mini_even"),
        *("ul2_mini", "byt5_mini", "metaclip_mini", "rewriter_mini"),
        *("dit_mini_aspects", "editor_mini_pictures", "personalizer_mini_likeness", "upsampler_mini"),
    ),
}
"""The last recipe of each component, in the paper's order."""
_TOWERS = ("ul2", "byt5", "metaclip")
_STANDS_ON = {
    "identity": ("tae",),
    "dit": ("tae", *_TOWERS),
    "editor": ("tae", *_TOWERS),
    "personalizer": ("tae", *_TOWERS, "identity"),
    "audio": ("codec", "vision", "t5"),
    "upsampler": ("tae",),
}
"""Published components that a component is trained with."""


@dataclass(frozen=True)
class Stage:
    """One step of a plan.

    Args:
        kind: "encode" makes the latents of a recipe and of the stages before it; "train" trains a recipe.
        published: whether the averaged weights become a version when the run has ended.
        after: names of the stages whose output it needs.
    """

    name: str
    kind: Literal["encode", "train"]
    recipe: str
    published: bool = False
    after: tuple[str, ...] = ()


def plan(name: str) -> list[Stage]:
    """The stages of a plan, each after those it stands on.

    Raises:
        ValueError: there is no such plan.
    """
    if name not in PLANS:
        raise ValueError(f"plan is {name!r}, must be one of {', '.join(PLANS)}")
    found: list[Stage] = []
    for last in PLANS[name]:
        found += _component(last, found)
    return found


def _component(last: str, before: Sequence[Stage]) -> Iterator[Stage]:
    """Yield the stages of one component."""
    rows = stages(RECIPES[last])
    component = rows[0].component
    parts = {RECIPES[stage.recipe].component: stage.name for stage in before if stage.published}
    needed = [parts[name] for name in _STANDS_ON.get(component, ()) if name in parts]
    if any(any(True for _ in latent_sets(row.settings)) for row in rows) and (tae := parts.get("tae")):
        encoding = Stage(f"{component}_latents", "encode", last, after=(tae,))
        yield encoding
        needed.append(encoding.name)
    for row in rows:
        yield Stage(row.name, "train", row.name, row.name == last, (*needed, *([row.start] if row.start else [])))
        needed = []


def trained(recipe: str, runs: Path) -> bool:
    """Return whether a run has ended on this machine."""
    try:
        return int(checkpoint.load(runs / recipe)["step"]) >= RECIPES[recipe].steps
    except FileNotFoundError:
        return False


def published(recipe: str, version: str, registry: Registry) -> bool:
    """Return whether a recipe's component has this version, made by it.

    Raises:
        ValueError: the version is another recipe's.
    """
    component = RECIPES[recipe].component
    if version not in registry.versions(component):
        return False
    found = registry.resolve(component, version).recipe
    if found != recipe:
        raise ValueError(f"{component}/{version} is of the recipe {found!r}, must be of {recipe!r}: take a new version")
    return True


def encoded(recipe: str, runs: Path, registry: Registry) -> bool:
    """Return whether the latents of a recipe and of the stages before it are all on this machine."""
    row = RECIPES[recipe]
    space = part("tae", row.settings.preset, registry).latent_space
    for items in (items for stage in stages(row) for items in latent_sets(stage.settings)):
        mark = runs / "latents" / f"{items.key(space)}.done"
        if not mark.exists() or int(mark.read_text()) < items.count:
            return False
    return True


def done(stage: Stage, version: str, runs: Path, registry: Registry) -> bool:
    """Return whether a stage's output is on this machine."""
    if stage.kind == "encode":
        return encoded(stage.recipe, runs, registry)
    return published(stage.recipe, version, registry) if stage.published else trained(stage.recipe, runs)


def commands(stage: Stage, version: str, alias: str, runs: Path, models: str) -> list[list[str]]:
    """Return the modules that a stage runs one after another, with their flags."""
    where = ["--recipe", stage.recipe, "--runs", str(runs)]
    if stage.kind == "encode":
        return [["training.encode", *where]]
    publish = ["training.publish", *where, "--version", version, "--alias", alias, "--models", models]
    return [["training.train", *where, "--resume"], *([publish] if stage.published else [])]


def run(stages_: Sequence[Stage], version: str, alias: str, runs: Path, models: str) -> int:
    """Run what is not done, in order, and return 0, or the exit code of the stage that failed."""
    registry = Registry(models)
    os.environ |= {PARTS: version, "KINO_MODELS": models}
    for stage in stages_:
        if done(stage, version, runs, registry):
            print(f"{stage.name}: done", flush=True)
            continue
        for module in commands(stage, version, alias, runs, models):
            print(f"{stage.name}: python -m {' '.join(module)}", flush=True)
            code = subprocess.run([sys.executable, "-m", *module], check=False).returncode
            if code:
                print(f"error: {stage.name} ended with {code}; run again to go on from there", file=sys.stderr)
                return code
    return 0


def main() -> int:
    """Command line of plans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, text in (("list", "show the stages and what each stands on"), ("run", "run what is not done")):
        command = names.add_parser(name, help=text)
        command.add_argument("--plan", required=True, choices=sorted(PLANS))
    command.add_argument("--version", required=True, help="of every component that the plan publishes")
    command.add_argument("--alias", default="candidate", help="moved to it (%(default)s)")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints (%(default)s)")
    command.add_argument("--models", default=MODELS, help="registry (%(default)s)")
    given = parser.parse_args()
    if given.command == "list":
        for stage in plan(given.plan):
            print(f"{stage.name}  {'publish' if stage.published else stage.kind}  after {' '.join(stage.after) or '-'}")
        return 0
    try:
        return run(plan(given.plan), given.version, given.alias, given.runs, given.models)
    except (ValueError, NotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
