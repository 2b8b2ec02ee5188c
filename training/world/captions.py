"""Sentences that say what a scene shows: one canonical, and endlessly many natural ones."""

from typing import Literal, TypeVar

import numpy as np

from training.world.scene import Identity, Scene
from training.world.words import (
    CAMERA_WORDS,
    COLOUR_WORDS,
    NOUNS,
    PLACE_PHRASES,
    RELATION_WORDS,
    SETTINGS,
    SIGN_WORDS,
    STYLE_WORDS,
    VERBS,
    WHERE,
)

CaptionStyle = Literal["any", "canonical", "short", "sentence", "tags", "paragraph"]
T = TypeVar("T")
_SHARES: dict[CaptionStyle, float] = {"canonical": 0.15, "short": 0.1, "sentence": 0.5, "tags": 0.1, "paragraph": 0.15}


def canonical(scene: Scene) -> str:
    """The plainest sentence of a scene, in one fixed order.

    For example "a red ball bounces in a meadow, the camera pans left". A still camera and the plain style go unsaid.
    """
    subject = with_article(scene.colour, scene.object)
    if scene.identity is not None:
        subject = f"a person in {with_article(scene.colour, 'dress')} {_looks(scene.identity)}"
    parts = [f"{subject} {scene.motion}"]
    if scene.second is not None:
        parts[0] += f" {scene.second.relation} {with_article(scene.second.colour, scene.second.object)}"
    parts[0] += f" {PLACE_PHRASES[scene.place]}"
    if scene.camera != "still":
        parts.append(f"the camera {scene.camera}")
    if scene.sign is not None:
        parts.append(f'a sign says "{scene.sign}"')
    if scene.style != "plain":
        parts.append(f"in {scene.style} style")
    return ", ".join(parts)


def moving(scene: Scene, rng: np.random.Generator) -> str:
    """What happens in a scene, as people tell it who show a picture of it: of what is seen much, little or nothing."""
    noun, said = pick(rng, (scene.object, *NOUNS[scene.object])), with_article(scene.colour, scene.object)
    named = (f"the {noun}", with_article(noun), f"the {scene.colour} {noun}", said)
    subject = "it" if rng.random() < 0.4 else pick(rng, named)
    verb = scene.motion if rng.random() < 0.6 else _verb(scene, rng)
    place = f" {PLACE_PHRASES[scene.place]}" if rng.random() < 0.3 else ""
    camera = f", the camera {scene.camera}" if scene.camera != "still" else ""
    return f"{subject} {verb}{place}{camera}"


def caption(scene: Scene, rng: np.random.Generator, style: CaptionStyle = "any") -> str:
    """A natural caption of a scene, drawn anew at each call.

    Every style names the object, its colour and its motion, and all but "short" also the place and whatever else the
    scene holds (camera move, second object, sign, style, looks of a person); "short" may leave out place and camera.

    Args:
        style: "any" draws one of the others.

    Raises:
        ValueError: the style is unknown.
    """
    if style == "any":
        style = pick(rng, tuple(_SHARES), tuple(_SHARES.values()))
    match style:
        case "canonical":
            return canonical(scene)
        case "short":
            return _short(scene, rng)
        case "tags":
            return _tags(scene, rng)
        case "sentence":
            return _case(rng, _sentence(scene, rng))
        case "paragraph":
            return _paragraph(scene, rng)
    raise ValueError(f"style is {style!r}; must be any, {', '.join(_SHARES)}")


def _short(scene: Scene, rng: np.random.Generator) -> str:
    """Subject and verb; each further fact only sometimes."""
    words = f"{_subject(scene, rng, 'a')} {_verb(scene, rng)}"
    if rng.random() < 0.6:
        words += f" {pick(rng, WHERE[scene.place])}"
    if scene.camera != "still" and rng.random() < 0.6:
        words += f", {_camera(scene, rng)}"
    if scene.sign is not None:
        words += f', "{scene.sign}"'
    return _case(rng, words)


def _tags(scene: Scene, rng: np.random.Generator) -> str:
    """The facts as a list, as people type them into search boxes."""
    subject = _subject(scene, rng, "")
    tags = [f"{subject} {pick(rng, VERBS[scene.motion])[1]}", pick(rng, SETTINGS[scene.place] + (scene.place,))]
    if rng.random() < 0.5:
        tags = [subject, pick(rng, VERBS[scene.motion])[1], *tags[1:]]
    if scene.second is not None:
        tags.append(_relation(scene, rng))
    if scene.camera != "still":
        tags.append(pick(rng, CAMERA_WORDS[scene.camera])[1])
    return ", ".join(tags + _extras(scene, rng))


def _sentence(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence, in one of several word orders."""
    subject, verb, where = _subject(scene, rng, "a"), _verb(scene, rng), pick(rng, WHERE[scene.place])
    beside = f" {_relation(scene, rng)}" if scene.second is not None else ""
    doing = pick(rng, VERBS[scene.motion])[1]
    sentence = pick(
        rng,
        (
            f"{subject} {verb}{beside} {where}",
            f"{subject} {verb}{beside} {where}",
            f"{where}, {subject} {verb}{beside}",
            f"there is {subject} {doing}{beside} {where}",
            f"{subject} is {doing}{beside} {where}",
            f"{subject} {where} {verb}{beside}",
            f"a video of {subject} {doing}{beside} {where}",
            f"we see {subject} {doing}{beside} {where}",
        ),
    )
    if scene.camera != "still":
        sentence = _with_camera(sentence, scene, rng)
    return ", ".join([sentence, *_extras(scene, rng)])


def _with_camera(sentence: str, scene: Scene, rng: np.random.Generator) -> str:
    clause, participle = pick(rng, CAMERA_WORDS[scene.camera])
    return pick(
        rng,
        (
            f"{sentence}, {clause}",
            f"{sentence} while {clause}",
            f"{sentence} as {clause}",
            f"{sentence}, {participle}",
            f"{clause} as {sentence}",
            f"{sentence} and {clause}",
        ),
    )


def _paragraph(scene: Scene, rng: np.random.Generator) -> str:
    """Three to six short sentences, the setting first or last."""
    subject, verb = _subject(scene, rng, "a"), _verb(scene, rng)
    noun = "person" if scene.identity is not None else scene.object
    beside = f" {_relation(scene, rng)}" if scene.second is not None else ""
    setting = pick(rng, ("the scene shows {}", "the place is {}", "all around is {}", "this is {}")).format(
        pick(rng, SETTINGS[scene.place])
    )
    action = f"{subject} {verb}{beside}"
    again = pick(rng, ("the {} is {}", "we watch the {} {}", "all the time the {} keeps {}")).format(
        noun, pick(rng, VERBS[scene.motion])[1]
    )
    sentences = [setting, action, again] if rng.random() < 0.5 else [action, again, setting]
    if scene.camera != "still" or rng.random() < 0.5:
        sentences.append(_camera(scene, rng))
    if scene.sign is not None:
        sentences.append(pick(rng, SIGN_WORDS[:2]).format(scene.sign))
    if scene.style != "plain" or rng.random() < 0.3:
        sentences.append(f"the film is made {pick(rng, STYLE_WORDS[scene.style])}")
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _subject(scene: Scene, rng: np.random.Generator, article: str) -> str:
    """A noun phrase for the first object; `article` is "a" or nothing."""
    hue = pick(rng, COLOUR_WORDS[scene.colour])
    if scene.identity is not None:
        dress = with_article(hue, pick(rng, ("dress", "dress", "outfit")))
        person = f"{pick(rng, ('person', 'person', 'figure'))} in {dress} {_looks(scene.identity)}"
        return f"a {person}" if article else person
    noun = pick(rng, NOUNS[scene.object])
    size = pick(rng, ("", "", "", "", "big ", "large "))
    if not article:
        return f"{size}{hue} {noun}"
    if rng.random() < 0.12:
        return f"{pick(rng, ('the', 'one'))} {size}{hue} {noun}"
    if rng.random() < 0.08 and " with " not in noun:
        return f"{with_article(size, noun) if size else with_article(noun)} that is {hue}"
    return with_article(f"{size}{hue}", noun)


def _looks(identity: Identity) -> str:
    return f"with {identity.skin} skin and {identity.cut} {identity.hair} hair"


def _relation(scene: Scene, rng: np.random.Generator) -> str:
    assert scene.second is not None
    other = with_article(pick(rng, COLOUR_WORDS[scene.second.colour]), pick(rng, NOUNS[scene.second.object][:2]))
    return f"{pick(rng, RELATION_WORDS[scene.second.relation])} {other}"


def _verb(scene: Scene, rng: np.random.Generator) -> str:
    return pick(rng, VERBS[scene.motion])[0]


def _camera(scene: Scene, rng: np.random.Generator) -> str:
    return pick(rng, CAMERA_WORDS[scene.camera])[0]


def _extras(scene: Scene, rng: np.random.Generator) -> list[str]:
    """What only some scenes have: a sign, a style."""
    extras = []
    if scene.sign is not None:
        extras.append(pick(rng, SIGN_WORDS).format(scene.sign))
    if scene.style != "plain":
        extras.append(pick(rng, STYLE_WORDS[scene.style]))
    return extras


def with_article(*words: str) -> str:
    """A phrase with "a" or "an" before it."""
    phrase = " ".join(word.strip() for word in words)
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _case(rng: np.random.Generator, sentence: str) -> str:
    """Half of the sentences as typed in haste, half with a capital and a full stop."""
    return sentence if rng.random() < 0.5 else f"{sentence[0].upper()}{sentence[1:]}."


def pick(rng: np.random.Generator, options: tuple[T, ...], weights: tuple[float, ...] | None = None) -> T:
    """One of several options."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    return options[int(rng.choice(len(options), p=weights))]
