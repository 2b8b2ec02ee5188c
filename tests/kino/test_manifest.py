import hashlib
import json
from dataclasses import replace

import pytest

from kino.manifest import Manifest, Parent, Spaces

MANIFEST = Manifest(
    component="dit",
    version="mini-1",
    preset="mini",
    config={"width": 64, "max_grid": [1, 2, 3]},
    digests={"model.safetensors": "ab", "card.md": "cd"},
    spaces=Spaces("aa", {"ul2": "bb"}, "cc", "dd"),
    metrics={"loss": 0.5},
    recipe="dit_mini",
    git_revision="0123abc",
    created="2026-01-02T03:04:05Z",
    parent=Parent("dit", "mini-0", "dit_mini_joint", "ee"),
    data="ff",
)


def test_the_file_gives_back_the_manifest() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    spaces = {"latent": "aa", "text": {"ul2": "bb"}, "vision": "cc", "sound": "dd"}
    assert json.loads(MANIFEST.to_json())["spaces"] == spaces
    assert MANIFEST.spaces.digests == ("aa", "cc", "dd", "bb")


def test_a_manifest_from_before_sound_was_written_has_none() -> None:
    values = json.loads(MANIFEST.to_json())
    del values["spaces"]["sound"]
    assert Manifest.from_json(json.dumps(values)) == replace(MANIFEST, spaces=Spaces("aa", {"ul2": "bb"}, "cc"))


def test_a_manifest_from_before_lineage_was_written_says_nothing_of_it() -> None:
    values = json.loads(MANIFEST.to_json())
    del values["data"]
    found = Manifest.from_json(json.dumps(values | {"parent": ""}))
    assert found == replace(MANIFEST, parent=Parent(), data="")
    with pytest.raises(ValueError, match=r"extra fields \(data\)"):
        Manifest.from_json(json.dumps(values))


def test_latents_are_named_by_their_tae_or_by_the_one_whose_encoder_it_kept() -> None:
    own = replace(MANIFEST, component="tae", spaces=Spaces())
    tuned = replace(own, digests={"model.safetensors": "ac"}, spaces=Spaces(own.digest))
    assert own.latent_space == own.digest
    assert tuned.latent_space == own.digest != tuned.digest


def test_the_digest_is_of_what_the_version_computes() -> None:
    text = (
        '{"component": "dit", "config": {"max_grid": [1, 2, 3], "width": 64}, '
        '"family": "kino", "files": {"model.safetensors": "ab"}}'
    )
    assert MANIFEST.digest == hashlib.sha256(text.encode()).hexdigest()
    same = replace(
        MANIFEST,
        version="other",
        metrics={},
        created="",
        digests={**MANIFEST.digests, "card.md": "ee", "model.onnx": "ff"},
    )
    assert same.digest == MANIFEST.digest
    others = [
        replace(MANIFEST, component="tae"),
        replace(MANIFEST, family="wan"),
        replace(MANIFEST, config={"width": 65, "max_grid": [1, 2, 3]}),
        replace(MANIFEST, digests={"model.safetensors": "ac"}),
        replace(MANIFEST, digests={"model.safetensors": "ab", "vocab.json": "cd"}),
    ]
    assert len({MANIFEST.digest, *(other.digest for other in others)}) == 6


def test_what_judges_found_is_among_the_metrics_and_replaced_as_a_whole() -> None:
    assert MANIFEST.judged == {}
    first = MANIFEST.with_judged("films 1:1 2 s", {"object": 0.5, "colour": 1.0})
    both = first.with_judged("films 16:9 2 s", {"object": 0.25})
    assert both.metrics == {
        "loss": 0.5,
        "films 1:1 2 s: object": 0.5,
        "films 1:1 2 s: colour": 1.0,
        "films 16:9 2 s: object": 0.25,
    }
    again = Manifest.from_json(both.with_judged("films 1:1 2 s", {"object": 0.75}).to_json())
    assert again.judged == {"films 1:1 2 s": {"object": 0.75}, "films 16:9 2 s": {"object": 0.25}}
    assert again.metrics["loss"] == 0.5


@pytest.mark.parametrize(
    ("subject", "figures", "message"),
    [
        ("", {"object": 0.5}, "a name of figures is ''"),
        ("films: all", {"object": 0.5}, "a name of figures is 'films: all', must be words without ': '"),
        ("films", {"object: ball": 0.5}, "a name of figures is 'object: ball'"),
        ("films", {}, "figures of 'films' are none"),
    ],
)
def test_figures_that_could_not_be_read_back_are_refused(subject: str, figures: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MANIFEST.with_judged(subject, figures)


def test_lists_and_tuples_in_a_config_mean_the_same() -> None:
    tuples = replace(MANIFEST, config={"width": 64, "max_grid": (1, 2, 3)})
    assert tuples.digest == MANIFEST.digest
    assert Manifest.from_json(tuples.to_json()) == MANIFEST


def test_a_figure_that_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(MANIFEST, metrics={"loss": float("nan")}).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": ""}, r"extra fields \(extra\)"),
        ({"component": None}, "manifest.component is None, must be text"),
        ({"config": []}, r"manifest.config is \[\], must be an object"),
        ({"digests": {"model.safetensors": 5}}, "digests.model.safetensors is 5, must be text"),
        ({"metrics": {"loss": "low"}}, "metrics.loss is 'low', must be a number"),
        ({"spaces": {"latent": "", "vision": ""}}, r"extra fields \(text\)"),
        ({"parent": "mini-0"}, "parent is 'mini-0', must be an object"),
        ({"parent": {"component": "dit"}}, r"parent is without or with extra fields \(digest, recipe, version\)"),
        ({"spaces": {"latent": "", "text": {"ul2": 1}, "vision": ""}}, "spaces.text.ul2 is 1, must be text"),
    ],
)
def test_a_record_of_another_shape_is_refused(change: dict[str, object], message: str) -> None:
    text = json.dumps(json.loads(MANIFEST.to_json()) | change)
    with pytest.raises(ValueError, match=message):
        Manifest.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|must be an object|extra fields"):
        Manifest.from_json(text)
