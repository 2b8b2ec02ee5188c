import itertools

from kino.grammar import MAX_ASKED
from training.objectives.wishes import plain_grammar, wordings
from training.world.captions import canonical
from training.world.scene import CAMERAS, sample

SLOTS = ("colour", "object", "motion", "place", "camera")


def test_the_grammar_writes_the_canonical_caption_of_every_plain_scene() -> None:
    for index in range(300):
        scene = sample(0, index)
        values = {slot: getattr(scene, slot) for slot in SLOTS}
        assert plain_grammar().write(values) == canonical(scene)
        assert plain_grammar().parse(canonical(scene)) == values


def test_every_wording_of_a_value_is_found_as_that_value() -> None:
    grammar = plain_grammar()
    for slot, values in wordings().items():
        for value, wording in values.items():
            for phrase in wording.own:
                mentions = [mention for mention in grammar.find(phrase) if mention.slot]
                assert [(m.slot, m.values, m.means) for m in mentions] == [(slot, (value,), True)], phrase


def test_what_the_world_lacks_has_one_stand_in_that_a_draft_can_quote() -> None:
    grammar = plain_grammar()
    for slot, values in wordings().items():
        for value, wording in values.items():
            for phrase in wording.foreign:
                mentions = grammar.find(phrase)
                assert [(m.slot, m.values, m.means) for m in mentions] == [(slot, (value,), False)], phrase
                assert len(mentions[0].phrase) <= MAX_ASKED


def test_no_wording_stands_under_two_values() -> None:
    said = [
        (phrase, slot, value)
        for slot, values in wordings().items()
        for value, wording in values.items()
        for phrase in {*wording.own, *wording.foreign}
    ]
    twice = {a[0] for a, b in itertools.pairwise(sorted(said)) if a[0] == b[0]}
    assert twice == set()


def test_every_camera_of_the_world_is_in_the_grammar() -> None:
    camera = plain_grammar().slots[-1]
    assert tuple(camera.pieces) == CAMERAS
    assert camera.pieces["still"] == ""
