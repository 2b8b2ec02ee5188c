"""What films and pictures of a sentence have in common: one pipeline, from the prompt to the file."""

from collections.abc import Mapping

from kino import bounds, validate
from kino.v1 import encoder_pb2, generator_pb2, graph_pb2, info_pb2, rewriter_pb2, tae_pb2

Infos = Mapping[str, info_pb2.Info]


def components(product: bounds.Product) -> tuple[str, ...]:
    """Return the services that a product needs."""
    needed = ("rewriter", "encoder", "generator", "tae")
    return needed[1:] if product.verbatim else needed


def pipeline(
    product: bounds.Product,
    field: str,
    infos: Infos,
    seed: int,
    frames: int,
    fps: int | None,
    export: graph_pb2.ExportRequest,
) -> graph_pb2.Pipeline:
    """Return rewrite -> encode -> generate -> decode -> export, without the first step where the prompt is verbatim.

    Args:
        field: where the product stands in the client's request, for messages.
        fps: frames per second, None for a picture.

    Raises:
        InvalidArgumentError: the prompt, the size or the sampling is out of bounds.
    """
    size, limits = bounds.frame_size(product, field, infos["generator"].limits), infos["encoder"].limits
    reader = "encoder" if product.verbatim else "rewriter"
    prompt = _prompt(product.prompt, f"{field}.prompt", infos[reader].limits)
    negative = _prompt(product.negative_prompt, f"{field}.negative_prompt", limits, blank=True)
    sampling = bounds.sampling(product.sampling, f"{field}.sampling", infos["generator"].limits)
    encode = encoder_pb2.EncodeRequest(negative_prompt=negative, fps=fps)
    generate = generator_pb2.GenerateRequest(
        frames=frames, height=size.height, width=size.width, seed=seed, sampling=sampling
    )
    decode = tae_pb2.TaeServiceDecodeRequest(frames=frames, fps=fps or 0)
    nodes = [
        graph_pb2.PipelineNode(name="encode", encode=encode),
        graph_pb2.PipelineNode(name="generate", generate=generate),
        graph_pb2.PipelineNode(name="decode", tae_decode=decode),
        graph_pb2.PipelineNode(name="export", export=export),
    ]
    edges = [
        edge("encode.embeddings", "generate.embeddings"),
        edge("encode.unconditional", "generate.unconditional"),
        edge("generate.latents", "decode.latents"),
        edge("generate.latent_space", "decode.latent_space"),
        edge("decode.video", "export.video"),
    ]
    if product.verbatim:
        encode.prompt = prompt
        nodes[0].encode.CopyFrom(encode)
    else:
        rewrite = rewriter_pb2.RewriteRequest(prompt=prompt, seed=seed)
        nodes.insert(0, graph_pb2.PipelineNode(name="rewrite", rewrite=rewrite))
        edges.insert(0, edge("rewrite.prompt", "encode.prompt"))
    return graph_pb2.Pipeline(nodes=nodes, edges=edges)


def edge(source: str, target: str) -> graph_pb2.PipelineEdge:
    """Return an edge between two fields, each written as `node.field`."""
    return graph_pb2.PipelineEdge(source=port(source), target=port(target))


def port(text: str) -> graph_pb2.Port:
    """Return the port that is written as `node.field`."""
    node, _, field = text.partition(".")
    return graph_pb2.Port(node=node, field=field)


def _prompt(text: str, field: str, limits: info_pb2.Limits, *, blank: bool = False) -> str:
    maximum = limits.prompt_bytes.maximum or validate.MAX_PROMPT_BYTES
    return validate.prompt(text, field, max_bytes=maximum, blank=blank)
