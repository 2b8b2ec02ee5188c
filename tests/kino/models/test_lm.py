import pytest
import torch

from kino.models.lm import Cache, LanguageModel, LmConfig, generate

CONFIG = LmConfig(vocabulary=40, width=32, layers=2, heads=4, kv_heads=2, hidden=48, max_tokens=24)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def test_the_cache_changes_nothing(model: LanguageModel) -> None:
    ids = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(1))
    whole = model(ids)
    cache = Cache()
    pieces = [model(ids[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 12))]
    assert cache.length == 12
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_the_future_is_not_seen(model: LanguageModel) -> None:
    ids = torch.randint(40, (1, 8), generator=torch.Generator().manual_seed(2))
    other = ids.clone()
    other[0, 5:] = 39 - other[0, 5:]
    torch.testing.assert_close(model(ids)[:, :5], model(other)[:, :5])
    assert (model(ids)[:, 5:] - model(other)[:, 5:]).abs().max() > 1e-3


def test_one_key_head_for_each_query_head_is_plain_attention() -> None:
    torch.manual_seed(3)
    shared = LanguageModel(LmConfig(40, 32, 1, 4, 1, 48, 24))
    full = LanguageModel(LmConfig(40, 32, 1, 4, 4, 48, 24))
    state = shared.state_dict()
    key, value = state["blocks.0.attention.key_value.weight"].chunk(2)
    full.load_state_dict(
        state | {"blocks.0.attention.key_value.weight": torch.cat((key.repeat(4, 1), value.repeat(4, 1)))}
    )
    ids = torch.arange(10)[None]
    torch.testing.assert_close(shared(ids), full(ids))


def test_generation_is_the_argmax_of_the_whole_sequence(model: LanguageModel) -> None:
    prompt = [3, 1, 4, 1, 5]
    tokens = list(generate(model, prompt, lambda logits: int(logits.argmax())))
    assert len(tokens) == CONFIG.max_tokens - len(prompt)
    sequence = list(prompt)
    for token in tokens:
        assert token == int(model(torch.tensor([sequence]))[0, -1].argmax())
        sequence.append(token)


def test_too_long_a_sequence_is_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="25 tokens exceed the model's 24"):
        model(torch.zeros(1, 25, dtype=torch.long))


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="kv_heads: 3"):
        LmConfig(40, 32, 1, 4, 3, 48, 24)
