from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kino.adopted import build_writer
from kino.models.adopted_writer import AdoptedWriter, AdoptedWriterConfig, Answer, NoRoomError
from tests import folders

CONFIG = AdoptedWriterConfig("LlamaForCausalLM", "float32", max_tokens=12, context=512)


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> AdoptedWriter:
    folder = folders.llama(tmp_path_factory.mktemp("chained"), chain="a red ball bounces . </s>")
    return build_writer(folder, CONFIG)


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> AdoptedWriter:
    return build_writer(folders.llama(tmp_path_factory.mktemp("random")), CONFIG)


def last(writer: AdoptedWriter, seed: int, **changed: Any) -> Answer:
    again = AdoptedWriter(writer.network, writer.tokenizer, replace(writer.config, **changed))
    return list(again.answer("be short", "a cat", seed))[-1]


def test_an_answer_grows_by_tokens_until_the_model_ends_it(chained: AdoptedWriter) -> None:
    assert list(chained.answer("be short", "a cat", 0)) == [
        Answer("a"),
        Answer("a red"),
        Answer("a red ball"),
        Answer("a red ball bounces"),
        Answer("a red ball bounces ."),
        Answer("a red ball bounces .", ended=True),
    ]
    assert last(chained, 0, max_tokens=3) == Answer("a red ball")


def test_the_likeliest_tokens_are_those_of_the_library(random: AdoptedWriter) -> None:
    question = torch.tensor([random.question("be short", "a cat")])
    ids = random.network.generate(question, max_new_tokens=12, do_sample=False)[0, question.shape[1] :]
    expected = random.tokenizer.decode(ids, skip_special_tokens=True)
    assert last(random, 0, temperature=0.0).text == expected
    assert last(random, 5, temperature=2.0, top_p=1e-6).text == expected


def test_a_seed_gives_one_answer_and_others_give_others(random: AdoptedWriter) -> None:
    answers = [last(random, seed).text for seed in range(4)]
    assert [last(random, seed).text for seed in range(4)] == answers
    assert len(set(answers)) == 4


def asked(folder: Path, chat: str | None) -> str:
    writer = build_writer(folders.llama(folder, chat=chat), CONFIG)
    text: str = writer.tokenizer.decode(writer.question("red", "cat"))
    return text


def test_a_question_is_put_as_the_model_is_used_to(tmp_path: Path) -> None:
    roles = "{% for m in messages %}{{ m.role == 'system' and 'a' or 'GO' }} {{ m.content }} {% endfor %}says"
    assert asked(tmp_path / "chat", roles) == "a red GO cat says"
    lone = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}{{ messages[0].content }}"
    assert asked(tmp_path / "lone", lone) == "red <unk> <unk> cat"  # red, Prompt, :, cat
    assert asked(tmp_path / "none", None) == "red <unk> <unk> cat <unk> <unk>"  # ... Caption, :


def test_a_question_without_room_for_an_answer_is_refused(random: AdoptedWriter) -> None:
    room = len(random.question("be short", "a cat"))
    assert last(random, 0, context=room + 12).text
    with pytest.raises(NoRoomError, match=f"has {room} tokens, there is room for {room - 1} of {room + 11}"):
        last(random, 0, context=room + 11)
