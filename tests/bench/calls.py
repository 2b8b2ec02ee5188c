"""The four calls of a film: straight to the services, and as the pipeline that makes the graph call the same."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from kino.client_services import last
from kino.presets import PRESETS
from kino.rpc import channel
from kino.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    generator_pb2,
    generator_pb2_grpc,
    graph_pb2,
    rewriter_pb2,
    rewriter_pb2_grpc,
    tae_pb2,
    tae_pb2_grpc,
    tensor_pb2,
)

SEED = 7
EDGES = (
    ("rewrite.prompt", "encode.prompt"),
    ("encode.embeddings", "generate.embeddings"),
    ("encode.unconditional", "generate.unconditional"),
    ("generate.latents", "decode.latents"),
    ("generate.latent_space", "decode.latent_space"),
)


def requests(
    preset: str, prompt: str
) -> tuple[
    rewriter_pb2.RewriteRequest,
    encoder_pb2.EncodeRequest,
    generator_pb2.GenerateRequest,
    tae_pb2.TaeServiceDecodeRequest,
]:
    """Requests for a preset's default film, without what one call takes from another."""
    video, store = PRESETS[preset].video, tensor_pb2.DELIVERY_STORE
    return (
        rewriter_pb2.RewriteRequest(prompt=prompt, seed=SEED),
        encoder_pb2.EncodeRequest(fps=video.fps, delivery=store),
        generator_pb2.GenerateRequest(
            frames=video.frames, height=video.pixels, width=video.pixels, seed=SEED, delivery=store
        ),
        tae_pb2.TaeServiceDecodeRequest(
            frames=video.frames, fps=video.fps, output=tae_pb2.DECODE_OUTPUT_VIDEO, delivery=store
        ),
    )


def pipeline(preset: str, prompt: str) -> graph_pb2.Pipeline:
    """The calls as nodes and edges; the decoded video comes out."""
    rewrite, encode, generate, decode = requests(preset, prompt)
    return graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(name="rewrite", rewrite=rewrite),
            graph_pb2.PipelineNode(name="encode", encode=encode),
            graph_pb2.PipelineNode(name="generate", generate=generate),
            graph_pb2.PipelineNode(name="decode", tae_decode=decode),
        ],
        edges=[graph_pb2.PipelineEdge(source=port(source), target=port(target)) for source, target in EDGES],
        outputs=[graph_pb2.PipelineOutput(name="video", source=port("decode.video"))],
    )


def port(text: str) -> graph_pb2.Port:
    """`node.field` as a port."""
    node, _, field = text.partition(".")
    return graph_pb2.Port(node=node, field=field)


class Calls:
    """Connections to the four services; made in the event loop that uses them."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def connect(self, addresses: Mapping[str, str]) -> None:
        """Open a channel to each service."""
        names = ("rewriter", "encoder", "generator", "tae")
        channels = [await self._stack.enter_async_context(channel(addresses[name])) for name in names]
        self._rewriter = rewriter_pb2_grpc.RewriterServiceStub(channels[0])
        self._encoder = encoder_pb2_grpc.EncoderServiceStub(channels[1])
        self._generator = generator_pb2_grpc.GeneratorServiceStub(channels[2])
        self._tae = tae_pb2_grpc.TaeServiceStub(channels[3])

    async def run(self, preset: str, prompt: str) -> tae_pb2.TaeServiceDecodeResult:
        """Make the calls one after the other, each fed by those before it; what comes out is in the store."""
        rewrite, encode, generate, decode = requests(preset, prompt)
        encode.prompt = (await self._rewriter.Rewrite(rewrite)).prompt
        encoded = await self._encoder.Encode(encode)
        generate.embeddings.extend(encoded.embeddings)
        generate.unconditional.extend(encoded.unconditional)
        generated: generator_pb2.GenerateResult = await last(self._generator.Generate(generate), None)
        decode.latents.CopyFrom(generated.latents)
        decode.latent_space = generated.latent_space
        decoded: tae_pb2.TaeServiceDecodeResult = await last(self._tae.Decode(decode), None)
        return decoded

    async def close(self) -> None:
        """Close the channels."""
        await self._stack.aclose()
