"""What a model version says of itself: one frozen record, one JSON file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

RETOLD = (".md", ".onnx")
"""Endings of files that tell anew what the others say, in words or as a graph, and so are no part of a digest."""
_JUDGED = ": "
"""Between what was judged and the name of a figure of it."""


@dataclass(frozen=True)
class Spaces:
    """The spaces that a generator was trained in, as digests of the versions that define them.

    Args:
        latent: digest of the TAE, or for sound of the codec; empty where no latents are read. Of a TAE whose decoder
            alone was tuned it names the one whose encoder it kept.
        text: digest of each text tower, by its name.
        vision: digest of the vision encoder; empty where no frames are seen.
        sound: digest of what decodes the sound of its videos; empty where they come without.
    """

    latent: str = ""
    text: Mapping[str, str] = field(default_factory=dict)
    vision: str = ""
    sound: str = ""

    @property
    def digests(self) -> tuple[str, ...]:
        """All of them, empty ones too."""
        return self.latent, self.vision, self.sound, *self.text.values()


@dataclass(frozen=True)
class Parent:
    """What a version's training began with.

    Args:
        component: the network, empty where training began anew.
        version: under which it was published; empty where it was a stage on the way and never was.
        recipe: its training run.
        digest: SHA-256 of its weights as a version has them: `model.safetensors`.
    """

    component: str = ""
    version: str = ""
    recipe: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Manifest:
    """One version of one component.

    Args:
        component: the network: tae, dit, ul2, byt5, metaclip, rewriter, codec, vision, t5, audio, upsampler.
        family: whose network it is: kino is ours, an adopted one's is its `model_type`.
        preset: name of the row of sizes; empty where it is of none, as an adopted one.
        config: settings of the network, as JSON knows them: lists, no tuples.
        digests: SHA-256 of each file of the version, by its name.
        spaces: what the version has to be used with.
        metrics: figures of the last validation of its training, and those of `judged`.
        recipe: name of the training run; random weights have none.
        git_revision: of the code that made it.
        created: time of publication, ISO 8601 in UTC.
        parent: whose weights training began with.
        data: digest of what it was trained on, as `training.lineage` computes it; empty where nobody has said.
    """

    component: str
    version: str
    preset: str
    config: Mapping[str, Any]
    family: str = "kino"
    digests: Mapping[str, str] = field(default_factory=dict)
    spaces: Spaces = field(default_factory=Spaces)
    metrics: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    git_revision: str = ""
    created: str = ""
    parent: Parent = field(default_factory=Parent)
    data: str = ""

    @property
    def judged(self) -> dict[str, dict[str, float]]:
        """What judges found in what the version makes, by what they judged: the metric `films 1:1 2 s: colour`."""
        found: dict[str, dict[str, float]] = {}
        for name, value in self.metrics.items():
            subject, mark, figure = name.rpartition(_JUDGED)
            if mark:
                found.setdefault(subject, {})[figure] = value
        return found

    def with_judged(self, subject: str, figures: Mapping[str, float]) -> Self:
        """Return the manifest with what judges found of a subject, in place of what was found of it before.

        Raises:
            ValueError: a name is empty or has ": " in it, or there is no figure.
        """
        for name in (subject, *figures):
            if not name or _JUDGED in name:
                raise ValueError(f"a name of figures is {name!r}, must be words without {_JUDGED!r}")
        if not figures:
            raise ValueError(f"figures of {subject!r} are none, must be at least one")
        kept = {name: value for name, value in self.metrics.items() if name.rpartition(_JUDGED)[0] != subject}
        return replace(self, metrics=kept | {f"{subject}{_JUDGED}{name}": value for name, value in figures.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of what the version computes: network, settings and files, but not its name, its card and its graph.

        It names the text space of a tower.
        """
        files = {name: digest for name, digest in self.digests.items() if not name.endswith(RETOLD)}
        meaning = {"component": self.component, "family": self.family, "config": self.config, "files": files}
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()

    @property
    def latent_space(self) -> str:
        """Digest that names the latents of a TAE: its own, or that of the version whose encoder it kept."""
        return self.spaces.latent or self.digest

    def to_json(self) -> str:
        """Return the manifest as the text of its file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the manifest that a file holds; one from before lineage or sound was written says nothing of it.

        Raises:
            ValueError: it is no JSON, or lacks a field, has one too many or one of another type.
        """
        values = _checked(cls, _with_lineage(json.loads(text)), "manifest")
        values["spaces"] = Spaces(**_checked(Spaces, {"sound": "", **values["spaces"]}, "spaces"))
        values["parent"] = Parent(**_checked(Parent, values["parent"], "parent"))
        for name in ("digests", "metrics"):
            _check_values(name, values[name], str if name == "digests" else float)
        _check_values("spaces.text", values["spaces"].text, str)
        return cls(**values)


def _with_lineage(values: object) -> object:
    """Return the record with what manifests lacked whose `parent` was an empty text and which had no `data`."""
    if isinstance(values, dict) and "data" not in values and values.get("parent") == "":
        return {**values, "parent": asdict(Parent()), "data": ""}
    return values


def _checked(kind: type[Manifest] | type[Spaces] | type[Parent], values: object, where: str) -> dict[str, Any]:
    """Return the fields of a record after a look at their names and types."""
    if not isinstance(values, dict):
        raise ValueError(f"{where} is {values!r:.80}, must be an object")
    expected = {item.name: str if item.type is str else dict for item in fields(kind)}
    if values.keys() != expected.keys():
        odd = ", ".join(sorted(values.keys() ^ expected.keys()))
        raise ValueError(f"{where} is without or with extra fields ({odd}), must have {', '.join(expected)}")
    for name, type_ in expected.items():
        if not isinstance(values[name], type_):
            raise ValueError(
                f"{where}.{name} is {values[name]!r:.80}, must be {'text' if type_ is str else 'an object'}"
            )
    return values


def _check_values(where: str, values: Mapping[str, object], type_: type[str] | type[float]) -> None:
    for name, value in values.items():
        if not isinstance(value, type_ if type_ is str else int | float):
            raise ValueError(f"{where}.{name} is {value!r:.80}, must be {'text' if type_ is str else 'a number'}")
