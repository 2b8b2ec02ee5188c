"""What an instruction to edit asks for: one of six tasks, and the plain wording of it that editors are trained on.

Read by patterns, in English. A person's own nouns, colours and places stay as they are; only how the wish is put
changes: "could you turn it into a kitten?" becomes "replace it with a kitten".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kino import validate
from kino.errors import InvalidArgumentError

EditTask = Literal["recolour", "replace", "remove", "add", "place", "style"]

WANTED = (
    'a change, in English, such as "make the ball blue", "replace the ball with a cat", "remove the ball", '
    '"add a red star on the left", "set the scene in the snow" or "change the style to sketch"'
)
"""What can be asked for, as a refusal says it."""


@dataclass(frozen=True)
class Instruction:
    """A wish: its task, and its plain wording, for example "make the ball blue"."""

    task: EditTask
    text: str


def understand(text: str, field: str = "instruction", max_bytes: int = validate.MAX_PROMPT_BYTES) -> Instruction:
    """Return what an instruction asks for.

    Raises:
        InvalidArgumentError: as `validate.prompt`, or nothing in it is a wish for one of the tasks.
    """
    said = _plain(validate.prompt(text, field, max_bytes=max_bytes))
    for pattern, read in _READERS:
        match = pattern.fullmatch(said)
        found = None if match is None else read(**match.groupdict())
        if found is not None:
            return found
    raise InvalidArgumentError(field, text, WANTED)


def _either(words: str) -> str:
    return "|".join(re.escape(word) for word in sorted(words.split(), key=len, reverse=True))


_POLITE = re.compile(
    r"(?:(?:please|now|then|ok|okay|hey|just|and|let'?s|(?:can|could|would|will) you|i (?:want|need) you to"
    r"|i(?: would|'d) like (?:you )?to|i(?: would|'d) like|i want to|try to)[ ,]+)*"
    r"(.*?)(?:[ ,]+(?:please|thanks|thank you|now|instead|as well|too))*"
)
_HUES = _either(
    "red orange yellow green teal blue purple pink crimson scarlet golden gold emerald turquoise cyan violet black "
    "white grey gray brown beige magenta silver navy lime maroon lavender indigo"
)
_SHADES = _either("bright deep dark light pale vivid royal hot neon pastel")
_HUE = rf"(?:(?:{_SHADES}) )*(?:{_HUES})"
_COLOUR = rf"{_HUE}(?: and {_HUE})?"
_GENERIC = (
    r"(?:it|this|that|everything|(?:the|this|that) (?:whole )?(?:thing|film|video|movie|clip|scene|picture|shot))"
)
_STYLE_HEADS = _either(
    "sketch drawing painting cartoon comic anime watercolour watercolor sepia vintage retro noir photo photograph dusk "
    "twilight evening sunset style look pencil plain"
)
_STYLE = re.compile(
    rf"(?:a |an |the )?(?:.*\b)?(?:(?:{_STYLE_HEADS})(?: (?:style|look|art|drawing|sketch|tones|light|film))?"
    r"|old (?:film|movie|photo)|pixel art|black and white|(?:drawn|painted) (?:in|with) .+)"
)
_ADJECTIVES = {
    "snowy": "in the snow",
    "wintry": "in the snow",
    "icy": "on the ice",
    "grassy": "in a meadow",
    "sandy": "on the beach",
    "dark": "at night",
    "nighttime": "at night",
    "night": "at night",
    "nocturnal": "at night",
    "indoor": "indoors",
    "outdoor": "in a meadow",
    "urban": "in a city",
    "winter": "in the snow",
    "snow": "in the snow",
}
_PLACES = _either(
    "meadow field grass lawn garden park snow snowfield winter ice mountain mountains desert dunes sand beach sea "
    "seaside shore coast ocean lake river water forest wood woods jungle trees city town village street downtown road "
    "night moonlight room house kitchen office indoors outdoors inside outside landscape sky space underwater cave farm"
)
_WHERE = r"(?:in|on|at|by|under|inside|among|across|between|near|over|around|in front of|in the middle of) .+"
_ENDS = re.compile(r" (?:with|by|of|under|over|in|on|at|and|full|from|near|behind|above|between|during|where)\b.*")
_BACKGROUND = r"(?:place|scene|setting|background|location|scenery|backdrop|landscape|surroundings?|weather|season)"
_OUT_OF_HERE = re.compile(r" (?:from|out of|in) (?:the |this )?(?:scene|film|video|movie|clip|picture|shot|frame)$")


def _plain(text: str) -> str:
    """An instruction in lower case, without politeness and the marks at its end."""
    said = " ".join(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()).strip(" .!?,;:\"'")
    match = _POLITE.fullmatch(said)
    assert match is not None  # it matches every text
    return match[1]


def _colour(value: str) -> str:
    """The colour that a phrase names and nothing else, "" where it is none."""
    match = re.fullmatch(rf"(?:(?:a|an|the|in|shade of|colou?red?) )*({_COLOUR})(?: (?:one|colou?r|instead))?", value)
    return match[1] if match else ""


def _head(value: str) -> str:
    """The noun that a phrase is about: the last word before what describes it further."""
    return _ENDS.sub("", value).split()[-1]


def _where(value: str) -> str:
    """The place that a phrase names, as the words after "set the scene"; "" where it names none."""
    bare = re.sub(r"^(?:a|an|the|look|more|be|into|to) ", "", value)
    if bare in _ADJECTIVES:
        return _ADJECTIVES[bare]
    if re.fullmatch("indoors|outdoors|downtown|underwater|outside|inside", bare):
        return bare
    if re.fullmatch(_WHERE, value):
        head = _head(re.sub(r"^(?:in front of|in the middle of|\w+) ", "", value))
        return value if re.fullmatch(_PLACES + "|buildings|cacti|window|moon|tree", head) else ""
    return ""


def _thing(name: str) -> str:
    """An object as the plain wordings name it: "the ball", "it"."""
    if re.fullmatch(_GENERIC, name):
        return "it"
    return "the " + re.sub(r"^(?:the|this|that|these|those|my|your|his|her|its|our|their|all|a|an) ", "", name)


def _remove(x: str) -> Instruction:
    return Instruction("remove", f"remove {_thing(_OUT_OF_HERE.sub('', x))}")


def _add(v: str) -> Instruction | None:
    v = _OUT_OF_HERE.sub("", v)
    if re.fullmatch(rf"(?:some )?(?:{_PLACES})", v):
        return _place(v.removeprefix("some "))
    return Instruction("add", f"add {v}")


def _place(v: str) -> Instruction:
    where = _where(v)
    return Instruction("place", f"set the scene {where}" if where else f"change the background to {v}")


def _style(v: str) -> Instruction:
    bare = re.sub(r"^(?:the |a |an )?(.+?)(?: style)?$", r"\1", v)
    if re.fullmatch("evening|twilight|sunset", bare):
        return Instruction("style", f"show it at {bare}")
    if re.fullmatch(r"\w+", bare):
        return Instruction("style", f"change the style to {bare}")
    as_seen = v if re.match("(?:in|as|like|at|drawn|painted) ", v) else f"like {v}" if "old " in v else f"as {v}"
    return Instruction("style", f"show it {as_seen}")


def _swap(x: str, v: str) -> Instruction:
    """One thing for another: the background too, and a colour for a colour."""
    if _colour(v):
        return Instruction("recolour", f"make {_thing(x)} {_colour(v)}")
    if re.fullmatch(rf"(?:the )?{_BACKGROUND}", x):
        return _place(v)
    return Instruction("replace", f"replace {_thing(x)} with {v}")


def _looks(v: str) -> bool:
    return _STYLE.fullmatch(re.sub(r"^(?:in|as|like|at|to|into) ", "", v)) is not None


def _change(x: str, v: str, link: str | None = None) -> Instruction | None:
    """A thing that is to be of another colour, look or place, or another thing."""
    generic = re.fullmatch(_GENERIC + rf"|(?:the )?{_BACKGROUND}", x) is not None
    if generic and v == "black and white":
        return Instruction("style", "show it in black and white")
    if _colour(v):
        return Instruction("recolour", f"make {_thing(x)} {_colour(v)}")
    if _looks(v) and (generic or not re.match("an? ", v)):
        return _style(v)
    if _where(v) or (link and re.fullmatch(_PLACES, _head(v))) or re.fullmatch(rf"an? (?:.* )?(?:{_PLACES})", v):
        return _place(v)
    if re.fullmatch(rf"(?:the )?{_BACKGROUND}", x):
        return _place(v) if link else None
    if (link in ("into", "like") or re.match(r"(?:an?|another|some) ", v)) and not re.search(r"\w+er$", v):
        return Instruction("replace", f"replace {_thing(x)} with {v}")
    return None


def _shown(x: str, v: str) -> Instruction | None:
    """The whole in another look or place: "render it as a sketch"."""
    if not re.fullmatch(_GENERIC, x):
        return None
    return _style(v) if _looks(v) else _place(v) if _where(v) else None


def _move(x: str, v: str) -> Instruction | None:
    """A thing brought to a place; further left is no place."""
    if re.match("(?:an?|another) ", x):
        return None
    to_where = v if _where(v) else re.sub(r"^(?:in|on|at|to|into|onto|inside) ", "", v)
    known = _where(to_where) or re.fullmatch(_PLACES, _head(to_where))
    return _place(to_where) if known else None


def _bare(v: str) -> Instruction | None:
    return _style(v) if _looks(v) else _place(v) if _where(v) else None


_ARTICLE = r"(?:an?|another|one more|some|two|three)"
_LINK = r"(?P<link>into|to be|to become|to look like|to|look like|like|as|look|become|be)"
_MAKE = r"(?:make|turn|change|transform|convert|morph|switch|set|let|have)"
_PATTERNS: tuple[tuple[str, Callable[..., Instruction | None]], ...] = (
    (r"(?:remove|delete|erase|take (?:away|out|off)|get rid of|cut(?: out)?|wipe (?:out|away)|hide|eliminate"
     r"|lose) (?P<x>.+)", _remove),
    (r"(?:take|wipe|cut|edit|throw) (?P<x>.+?) (?:away|out|off)(?: of .+)?", _remove),
    (r"(?:make|let|have) (?P<x>.+?) (?:disappear|vanish|go away|be gone|gone|invisible)", _remove),
    (r"(?P<x>.+?) (?:should|must|has to|needs to) (?:disappear|vanish|go away|go|be gone|be removed)", _remove),
    (r"(?:there should be |i want |have )?(?:no(?: more)?|without) (?P<x>.+)", _remove),
    (r"(?:change|set|switch|turn) the (?:style|look)(?: of .+?)? (?:in)?to (?P<v>.+)", _style),
    (r"(?:render|show|draw|redraw|redo|repaint|film|shoot|stylise|stylize|remake) (?P<x>.+?) "
     r"(?P<v>(?:in|as|like|at|on|under|by|drawn|painted) .+)", _shown),
    (rf"(?:change|set|switch|swap|replace|turn|make) the {_BACKGROUND}(?: of .+?)? (?:to|into|with|for|by|as) "
     rf"(?P<v>(?!.*\b(?:style|sketch|cartoon)\b).+)", lambda v: None if _colour(v) else _place(v)),
    (rf"(?:change|set|switch|make) the {_BACKGROUND} (?P<v>{_WHERE})", _place),
    (r"(?:make|let|have) (?:it|this|everything) (?:happen|be|take place|play) "
     rf"(?P<v>{_WHERE}|indoors|outdoors|downtown|underwater)", _place),
    (r"(?:replace|exchange|substitute|switch|swap)(?: out)? (?P<x>.+?) (?:with|by) (?P<v>.+)", _swap),
    (r"(?:swap|exchange|switch|trade)(?: out)? (?P<x>.+?) for (?P<v>.+)", _swap),
    (r"substitute (?P<v>.+?) for (?P<x>.+)", _swap),
    (r"(?:use |i want |put |show |have )?(?P<v>.+?) (?:instead of|rather than|in place of) (?P<x>.+)", _swap),
    (r"(?:change|make|turn|set|switch) (?:the )?colou?r of (?P<x>.+?) (?:(?:in)?to )?(?P<v>.+)", _change),
    (r"(?:change|make|turn|set|switch) (?P<x>.+?)(?:'s?)? colou?r (?:(?:in)?to )?(?P<v>.+)", _change),
    (rf"(?:paint|colou?r|recolou?r|dye|tint|repaint) (?P<x>.+?) (?:(?:in|to|into) )?(?P<v>{_COLOUR})", _change),
    (r"(?:add|insert|include|introduce) (?P<v>.+)", _add),
    (r"(?:let there be|there should (?:also )?be|there should (?:also )?appear|i want to see) (?P<v>.+)", _add),
    (rf"(?:put in|bring in|draw|place|put|give me|create|have|i want|show|paint) (?P<v>{_ARTICLE} .+)", _add),
    (rf"{_MAKE} (?P<x>.+?) {_LINK} (?P<v>.+)", _change),
    (rf"{_MAKE} (?P<x>.+?) (?P<v>{_COLOUR})", _change),
    (rf"{_MAKE} (?P<x>.+?) (?P<v>{_ARTICLE} .+)", _change),
    (rf"{_MAKE} (?P<x>{_GENERIC}|(?:the )?{_BACKGROUND}) (?P<v>.+)", _change),
    (r"(?:move|bring|take|transport|relocate|put|place|set) (?P<x>.+?) (?P<v>(?:to|into|in|on|onto|at|inside|under"
     r"|among|between|by|across) .+)", _move),
    (r"(?P<x>.+?) (?:should|must|has to|needs to) (?P<link>be|become|turn into|look like|turn) (?P<v>.+)", _change),
    (r"(?P<x>the .+?) (?P<link>to be|to become|to look like|to turn into) (?P<v>.+)", _change),
    (rf"(?:i want |have )?{_GENERIC} (?P<v>.+)", _bare),
    (r"(?P<v>(?:in|as|like|at|on|under|by) .+)", _bare),
)  # fmt: skip
_READERS = tuple((re.compile(pattern), read) for pattern, read in _PATTERNS)
