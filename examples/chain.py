"""Text to video, edited, heard and brought to full HD: one pipeline, of which every part may be asked for alone."""

import sys
from pathlib import Path

from kino.client import Kino, Pipeline
from kino.v1.audio_pb2 import AudioServiceGenerateRequest
from kino.v1.editor_pb2 import EditRequest, InterpretRequest
from kino.v1.encoder_pb2 import EncodeRequest
from kino.v1.generator_pb2 import GenerateRequest
from kino.v1.graph_pb2 import EXPORT_FORMAT_LOSSLESS, ExportRequest
from kino.v1.info_pb2 import Limits
from kino.v1.rewriter_pb2 import RewriteRequest
from kino.v1.tae_pb2 import TaeServiceDecodeRequest
from kino.v1.upsampler_pb2 import UpsampleRequest


def chain(prompt: str, instruction: str, limits: Limits, fps: int = 16, seed: int = 1) -> Pipeline:
    """Return the pipeline of a film; it is as long and as large, before HD, as the generator makes it unless told."""
    pipeline = Pipeline()
    frames, height, width = (limit.default_value for limit in (limits.frames, limits.height, limits.width))

    words = pipeline.call("rewrite", RewriteRequest(prompt=prompt, seed=seed))
    text = pipeline.call("text", EncodeRequest(fps=fps), prompt=words["prompt"])
    guide = {"embeddings": text["embeddings"], "unconditional": text["unconditional"]}
    made = pipeline.call("make", GenerateRequest(frames=frames, height=height, width=width, seed=seed), **guide)

    wish = pipeline.call("wish", InterpretRequest(instruction=instruction))
    told = pipeline.call("told", EncodeRequest(fps=fps), prompt=wish["instruction"])
    guide = {"embeddings": told["embeddings"], "unconditional": told["unconditional"]}
    request = EditRequest(frames=frames, seed=seed)
    edited = pipeline.call("edit", request, latents=made["latents"], task=wish["task"], **guide)

    show = TaeServiceDecodeRequest(frames=frames, fps=fps)
    before = pipeline.call("before", show, latents=made["latents"])["video"]
    after = pipeline.call("after", show, latents=edited["latents"])["video"]
    lossless = ExportRequest(format=EXPORT_FORMAT_LOSSLESS)
    film = pipeline.call("compose", lossless, video=before, reconstruction=before, edited=after)["media"]

    sound = pipeline.call("sound", AudioServiceGenerateRequest(seed=seed), video=film)
    large = pipeline.call("hd", UpsampleRequest(seed=seed), video=film)["video"]
    file = pipeline.call("file", ExportRequest(), video=large, sound=sound["sound"], figures=sound["figures"])
    pipeline.output("film", file["media"])
    return pipeline


if __name__ == "__main__":
    with Kino(sys.argv[1]) as kino:
        limits = kino.generator.describe().limits
        order = chain("a green cat moves left in the snow", "make the cat orange", limits)
        Path("film.mp4").write_bytes(kino.artifacts.of(kino.generations.run(order.spec()), "film"))
