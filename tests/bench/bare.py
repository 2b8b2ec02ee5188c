"""A pipeline of `diffusers` in a process of its own, for `tests.bench.published`: one run for each line of input.

`python -m tests.bench.bare FOLDER TEXTS LATENTS [copied]`. A line holds the settings of a run as JSON; TEXTS is an npz
of its embeddings, and LATENTS where the latents go. Each answer is a line too. The library computes on weights where
they lie in their mapped file; with `copied` they are copied out of it first.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kino import parts


def main() -> None:
    """Answer lines until there are no more."""
    folder, texts, latents, *flags = sys.argv[1:]
    pipeline = parts.library().DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if flags == ["copied"]:
        for parameter in pipeline.transformer.parameters():
            parameter.data = parameter.data.clone()
    embeddings = {name: torch.from_numpy(rows)[None] for name, rows in np.load(texts).items()}
    print("ready", flush=True)
    for line in sys.stdin:
        run(pipeline, embeddings, json.loads(line), Path(latents))
        print("done", flush=True)


def run(pipeline: Any, embeddings: dict[str, torch.Tensor], given: dict[str, Any], latents: Path) -> None:
    """One run to latents [c t h w]."""
    generator = torch.Generator().manual_seed(given.pop("seed"))
    made = pipeline(**embeddings, **given, generator=generator, output_type="latent").frames
    np.save(latents, made[0].float().numpy())


if __name__ == "__main__":
    main()
