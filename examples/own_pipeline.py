"""Hand the graph a pipeline of your own: one text, no rewriter, two films that differ in their seed alone."""

import sys
from pathlib import Path

from kino.client import Kino, Pipeline
from kino.v1.encoder_pb2 import EncodeRequest
from kino.v1.generator_pb2 import GenerateRequest
from kino.v1.graph_pb2 import ExportRequest
from kino.v1.tae_pb2 import TaeServiceDecodeRequest

pipeline = Pipeline()
text = pipeline.call("text", EncodeRequest(prompt="a red ball bounces in a meadow", fps=16))
guide = {"embeddings": text["embeddings"], "unconditional": text["unconditional"]}
for seed in (1, 2):
    noise = pipeline.call(f"noise{seed}", GenerateRequest(frames=16, height=32, width=32, seed=seed), **guide)
    video = pipeline.call(f"video{seed}", TaeServiceDecodeRequest(frames=16, fps=16), latents=noise["latents"])
    pipeline.output(f"film{seed}", pipeline.call(f"file{seed}", ExportRequest(), video=video["video"])["media"])

with Kino(sys.argv[1]) as kino:
    generation = kino.generations.run(pipeline.spec())
    for artifact in generation.artifacts:
        Path(f"{artifact.name}.mp4").write_bytes(kino.artifacts.download(artifact.media.uri))
