"""Publish a finished run to the registry: python -m training.publish --recipe NAME --version mini-1 --alias mini."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kino import weights
from kino.manifest import Manifest, Spaces
from kino.models.audio import AudioDit
from kino.models.codec import Codec
from kino.models.dit import DiT
from kino.models.identity import Identity
from kino.models.lm import LanguageModel
from kino.models.tae import TAE
from kino.models.text import Tower
from kino.models.upsampler import Upsampler
from kino.models.vision import Vision
from kino.presets import PRESETS, Preset
from kino.registry import WEIGHTS_FILE, Registry
from training import checkpoint, export
from training.data import open_pool, to_signed
from training.lineage import data_digest, parent_of, published_state
from training.objectives.captions import tower_tokenizer
from training.objectives.codec import CodecSettings, set_codec_statistics, to_float
from training.objectives.decoder import DecoderSettings
from training.objectives.rewriter import rewriter_tokenizer
from training.objectives.sound_text import sound_tokenizer
from training.objectives.tae import TaeSettings, set_latent_statistics
from training.objectives.wishes import plain_grammar
from training.published import GRAMMAR_FILE, MODELS, TOKENIZER_FILE, part, version_of
from training.recipe import Recipe
from training.recipes import RECIPES

Network = TAE | DiT | LanguageModel | Codec | Vision | Identity | AudioDit | Upsampler | Tower


DATA = {
    "ul2": "captions of the procedural world in `training/world`",
    "byt5": "words and random letters, as on the world's signs",
    "metaclip": "captions and small pictures of the procedural world in `training/world`",
    "editor": "captions, clips, edited pictures and instructions of the procedural world in `training/world`",
    "codec": "sounds of the procedural world in `training/world`",
    "vision": "frames of the procedural world in `training/world`, drawn anew for every batch",
    "t5": "sound prompts of the procedural world in `training/world`",
    "upsampler": "clips of the procedural world in `training/world`, drawn in full HD",
    "audio": "clips with sound of the procedural world in `training/world`",
    "identity": "portraits and frames of the procedural world in `training/world`, drawn anew for every batch",
    "personalizer": "clips of people, portraits and captions of the procedural world in `training/world`",
    "rewriter": "prompts made by the rules and word lists of `training/objectives/pairs.py` and `wishes.toml`",
}
"""What a component learned from, where that is not clips alone."""


def network(component: str, preset: Preset) -> Network:
    """An untrained network of a component."""
    if component == "tae":
        return TAE(preset.tae)
    if component == "dit":
        return DiT(preset.dit)
    if component == "editor":
        return DiT(preset.editor)
    if component == "rewriter":
        return LanguageModel(preset.rewriter)
    if component == "codec":
        return Codec(preset.codec)
    if component == "audio":
        return AudioDit(preset.audio)
    if component == "upsampler":
        assert preset.upsampler is not None
        return Upsampler(preset.upsampler)
    if component == "vision":
        assert preset.vision is not None
        return Vision(preset.vision)
    if component == "identity":
        assert preset.identity is not None
        return Identity(preset.identity)
    if component == "personalizer":
        assert preset.personalizer is not None
        return DiT(preset.personalizer)
    tower = preset.t5 if component == "t5" else preset.towers[component]
    assert tower is not None
    return Tower(tower)


def trained_network(recipe: Recipe, runs: Path) -> Network:
    """The component of a run with its averaged weights; a TAE still without the statistics of its latents."""
    preset = PRESETS[recipe.settings.preset]
    module = network(recipe.component, preset)
    module.load_state_dict(published_state(recipe, runs))
    if isinstance(module, Codec):
        assert isinstance(recipe.settings, CodecSettings)
        set_codec_statistics(module, to_float(open_pool(recipe.settings.sounds, runs / "sounds")[:256]))
    return module.eval()


def settle_latents(recipe: Recipe, tae: TAE, runs: Path, registry: Registry) -> Spaces:
    """Set the statistics of a TAE's latents, and return its spaces.

    Where the encoder is that of the published version which the run went on from, the latents stay those of that one;
    else they are the TAE's own, and their statistics those of the clips that it was trained on.
    """
    assert isinstance(recipe.settings, TaeSettings | DecoderSettings)
    found, now = version_of(recipe.start, registry) if recipe.start else None, tae.state_dict()
    if found is not None:
        before = weights.load_state(found, registry)
        if all(
            torch.equal(before[name].bfloat16(), now[name].bfloat16()) for name in now if name.startswith("encoder.")
        ):
            tae.latent_mean.copy_(before["latent_mean"])
            tae.latent_std.copy_(before["latent_std"])
            return Spaces(found.latent_space)
    set_latent_statistics(tae, to_signed(open_pool(recipe.settings.clips, runs / "clips")[:256]))
    return Spaces()


def publish(recipe: Recipe, runs: Path, registry: Registry, version: str) -> Manifest:
    """Add the run's weights, tokenizer and card as a new version, with its spaces, figures and lineage."""
    module, preset = trained_network(recipe, runs), PRESETS[recipe.settings.preset]
    if isinstance(module, TAE):
        used = settle_latents(recipe, module, runs, registry)
    else:
        used = spaces(recipe.component, preset, registry)
    figures = last_figures(runs / recipe.name)
    with tempfile.TemporaryDirectory() as scratch:
        files = {WEIGHTS_FILE: Path(scratch) / WEIGHTS_FILE, "card.md": Path(scratch) / "card.md"}
        weights.save_state(files[WEIGHTS_FILE], module.state_dict(), recipe.storage)
        files["card.md"].write_text(card(recipe, runs / recipe.name, module))
        definition = tokenizer_definition(recipe.component, preset, runs)
        if definition:
            files[TOKENIZER_FILE] = Path(scratch) / TOKENIZER_FILE
            files[TOKENIZER_FILE].write_text(definition)
        if recipe.component == "rewriter":
            files[GRAMMAR_FILE] = Path(scratch) / GRAMMAR_FILE
            files[GRAMMAR_FILE].write_text(json.dumps(plain_grammar().to_config(), indent=1, sort_keys=True) + "\n")
        manifest = Manifest(
            component=recipe.component,
            version=version,
            preset=preset.name,
            config=json.loads(json.dumps(asdict(module.config))),
            spaces=used,
            metrics={name: value for name, value in figures.items() if name != "step"},
            recipe=recipe.name,
            git_revision=git_revision(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            parent=parent_of(recipe, runs, registry),
            data=data_digest(recipe),
        )
        return registry.publish(manifest, files)


def tokenizer_definition(component: str, preset: Preset, runs: Path) -> str | None:
    """The tokenizer that a text component was trained with, as JSON; none for bytes and for what reads no text."""
    if component == "rewriter":
        return rewriter_tokenizer(preset.rewriter.vocabulary, runs).definition
    if component == "t5" and preset.t5 and preset.t5.tokens == "bpe":
        return sound_tokenizer(preset.t5.vocabulary, runs).definition
    tower = preset.towers.get(component)
    return tower_tokenizer(tower.vocabulary, runs).definition if tower and tower.tokens == "bpe" else None


def spaces(component: str, preset: Preset, registry: Registry) -> Spaces:
    """The published parts that a generator of this preset was trained with; none for what is no generator."""

    def digest(name: str) -> str:
        return part(name, preset.name, registry).digest

    def latent() -> str:
        return part("tae", preset.name, registry).latent_space

    if component in ("dit", "editor"):
        return Spaces(latent(), {name: digest(name) for name, _ in preset.dit.text_widths})
    if component == "personalizer":
        text = {name: digest(name) for name, _ in preset.dit.text_widths}
        return Spaces(latent(), text, digest("identity"))
    if component == "audio":
        return Spaces(digest("codec"), {"t5": digest("t5")}, digest("vision"))
    return Spaces()


def last_figures(run: Path) -> dict[str, float]:
    """The last validation of a run."""
    rows = [json.loads(line) for line in (run / checkpoint.METRICS_FILE).read_text().splitlines()]
    validations: list[dict[str, float]] = [row for row in rows if "loss" not in row]
    return validations[-1]


def git_revision() -> str:
    """The commit the code is at, with a mark when files differ from it; empty outside a checkout.

    An image has it in $KINO_GIT_REVISION, and no git.
    """
    given = os.environ.get("KINO_GIT_REVISION", "")
    if given or shutil.which("git") is None:
        return given
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def card(recipe: Recipe, run: Path, module: nn.Module) -> str:
    """Model card: what it is, how it was made, its figures."""
    figures = last_figures(run)
    hours = figures.pop("seconds") / 3600
    step = int(figures.pop("step")) + 1
    count = sum(parameter.numel() for parameter in module.parameters())
    settings: dict[str, Any] = asdict(recipe.settings)  # type: ignore[call-overload]
    lines = [
        f"# {recipe.component}, recipe {recipe.name}",
        "",
        f"- Parameters: {count:,}; matrices in {recipe.storage}",
        f"- Steps: {step:,} of {recipe.steps:,}; {hours:.2f} hours on {machine()}",
        f"- Rates: Muon {recipe.matrix_rate}, AdamW {recipe.vector_rate}; weight average {recipe.average_decay}",
        *([f"- Joined: {recipe.own_share:.0%} of that, the rest what it began with"] if recipe.own_share < 1 else []),
        f"- Data: {DATA.get(recipe.component, 'clips of the procedural world in `training/world`')}; no other source",
        "",
        "## Settings",
        "",
        *(f"- {name}: {value}" for name, value in settings.items()),
        "",
        "## Figures of the last validation",
        "",
        *(f"- {name}: {value}" for name, value in figures.items()),
    ]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Processor, threads and accelerator of this machine."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {torch.get_num_threads()} threads"


def main() -> None:
    """Command line of the publisher."""
    parser = argparse.ArgumentParser(description="Publish a finished training run.")
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES))
    parser.add_argument("--version", required=True)
    parser.add_argument("--alias", help="alias to move to the new version")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--models", default=MODELS)
    arguments = parser.parse_args()
    registry = Registry(arguments.models)
    manifest = publish(RECIPES[arguments.recipe], arguments.runs, registry, arguments.version)
    if manifest.component in export.COMPONENTS:
        manifest = export.export(manifest, registry)
    if arguments.alias:
        before = registry.aliases(manifest.component).get(arguments.alias)
        registry.set_alias(manifest.component, arguments.alias, manifest.version, before)
    print(f"published {manifest.component}/{manifest.version}, digest {manifest.digest}")


if __name__ == "__main__":
    main()
