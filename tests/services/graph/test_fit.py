import pytest

from kino.errors import FailedPreconditionError
from kino.v1 import audio_pb2, editor_pb2, encoder_pb2, generator_pb2, graph_pb2, info_pb2, tae_pb2
from services.graph.fit import check_fit, fill_defaults
from services.graph.pipeline import check
from services.graph.products.text import edge, port


def pipeline() -> graph_pb2.Pipeline:
    nodes = [
        graph_pb2.PipelineNode(name="text", encode=encoder_pb2.EncodeRequest(prompt="a red ball")),
        graph_pb2.PipelineNode(name="sample", generate=generator_pb2.GenerateRequest(frames=8, height=32, width=32)),
        graph_pb2.PipelineNode(name="decode", tae_decode=tae_pb2.TaeServiceDecodeRequest(frames=8)),
    ]
    edges = [edge("text.embeddings", "sample.embeddings"), edge("sample.latents", "decode.latents")]
    output = graph_pb2.PipelineOutput(name="video", source=port("decode.video"))
    return graph_pb2.Pipeline(nodes=nodes, edges=edges, outputs=[output])


def infos(latents: str = "l", trained: str = "t", given: dict[str, str] | None = None) -> dict[str, info_pb2.Info]:
    written = {"ul2": "t", "byt5": "u"} if given is None else given
    spaces = [info_pb2.TextSpace(tower=tower, digest=digest) for tower, digest in written.items()]
    steps = info_pb2.IntRange(minimum=1, maximum=100, default_value=50)
    linear = info_pb2.IntRange(minimum=1, maximum=1000, default_value=250)
    limits = info_pb2.Limits(steps=steps, linear_steps=linear, guidance=info_pb2.FloatRange(default_value=4))
    needed = [info_pb2.TextSpace(tower="ul2", digest=trained)]
    space = info_pb2.LatentSpace(digest="l")
    return {
        "encoder": info_pb2.Info(component="encoder", version="1", text_spaces=spaces),
        "generator": info_pb2.Info(
            component="generator", version="2", latent_space=space, text_spaces=needed, limits=limits
        ),
        "tae": info_pb2.Info(component="tae", version="3", latent_space=info_pb2.LatentSpace(digest=latents)),
    }


def test_parts_of_one_training_fit() -> None:
    check_fit(check(pipeline()), infos())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (infos(latents="m"), "generator 2 and tae 3 do not fit: sample gives latents of the space l, decode reads m"),
        (infos(latents=""), "decode reads unknown"),
        (infos(trained="v"), "encoder 1 and generator 2 do not fit: sample was trained on embeddings of ul2 v, text"),
        (infos(given={"byt5": "u"}), "trained on embeddings of ul2 t, text gives none"),
    ],
)
def test_parts_of_different_trainings_do_not(parts: dict[str, info_pb2.Info], words: str) -> None:
    with pytest.raises(FailedPreconditionError, match=words):
        check_fit(check(pipeline()), parts)


def test_sound_is_decoded_by_what_its_generator_was_trained_with() -> None:
    heard = pipeline()
    decode = audio_pb2.AudioServiceDecodeRequest(frames=8, fps=16)
    heard.nodes.add(name="sound", sound_decode=decode)
    heard.edges.append(edge("sample.sound_latents", "sound.sound_latents"))
    parts = infos()
    parts["audio"] = info_pb2.Info(component="audio", version="4", sound_space=info_pb2.SoundSpace(digest="s"))
    with pytest.raises(
        FailedPreconditionError, match=r"generator 2 and audio 4 do not fit: .* space s, sample gives none"
    ):
        check_fit(check(heard), parts)
    parts["generator"].sound_space.digest = "r"
    with pytest.raises(FailedPreconditionError, match="sound decodes sound of the space s, sample gives r"):
        check_fit(check(heard), parts)
    parts["generator"].sound_space.digest = "s"
    check_fit(check(heard), parts)


def test_what_is_left_open_is_filled_in_and_what_is_set_is_kept() -> None:
    filled = pipeline()
    fill_defaults(filled, infos())
    request = filled.nodes[1].generate
    assert request.sampling == generator_pb2.Sampling(steps=50, linear_steps=250, guidance=4)
    assert (request.checkpoint_seconds, request.HasField("checkpoint_every")) == (2, False)
    own = pipeline()
    own.nodes[1].generate.sampling.steps = 400
    own.nodes[1].generate.sampling.guidance = 1
    own.nodes[1].generate.checkpoint_every = 7
    fill_defaults(own, infos())
    request = own.nodes[1].generate
    assert request.sampling == generator_pb2.Sampling(steps=400, linear_steps=400, guidance=1)
    assert (request.checkpoint_every, request.HasField("checkpoint_seconds")) == (7, False)


def test_how_closely_to_keep_is_filled_in_by_what_is_given() -> None:
    limits = info_pb2.Limits(
        source_guidance=info_pb2.FloatRange(default_value=1), picture_guidance=info_pb2.FloatRange(default_value=2)
    )
    parts = {"editor": info_pb2.Info(component="editor", limits=limits)}
    tasks = (editor_pb2.EDIT_TASK_STYLE, editor_pb2.EDIT_TASK_IMAGE)
    nodes = [
        graph_pb2.PipelineNode(name=f"of_{task}", edit=editor_pb2.EditRequest(task=task, source_guidance=own))
        for task in tasks
        for own in (None, 3.0)
    ]
    filled = graph_pb2.Pipeline(nodes=nodes)
    fill_defaults(filled, parts)
    assert [node.edit.source_guidance for node in filled.nodes] == [1, 3, 2, 3]
