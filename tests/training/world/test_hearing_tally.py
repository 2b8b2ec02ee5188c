import pytest

from training.world.hearing_tally import Tally, matched

WOOD = ("bounce", "wood")


def test_each_event_takes_the_nearest_sound_and_each_sound_is_used_once() -> None:
    truth = [(0.0, *WOOD), (1.0, *WOOD)]
    heard = [(0.05, *WOOD), (0.01, *WOOD), (1.07, *WOOD)]
    assert matched(truth, heard) == [((0.0, *WOOD), (0.01, *WOOD))]


def test_counts_of_one_clip() -> None:
    tally = Tally()
    truth = [(0.0, *WOOD), (1.0, "thud", "snow"), (1.5, "bell", "metal"), (1.97, *WOOD)]
    heard = [(0.02, *WOOD), (1.05, "step", "snow"), (0.5, "whoosh", "air"), (1.96, "bell", "metal")]
    tally.add(truth, heard, 2.0, place_right=True)
    assert tally.kinds == {"bounce": [1, 1, 1, 1], "thud": [1, 1, 0, 0], "bell": [1, 0, 0, 0]}
    rates = tally.rates()
    assert (rates["onsets"].right, rates["kinds"].right, rates["onsets"].count) == (2, 1, 3)
    assert (rates["places"].right, rates["whole clips"].right) == (1, 0)
    assert tally.confusions == {"thud as step": 1}
    assert tally.false_per_second == pytest.approx(0.5)


def test_the_right_kind_on_another_material_is_a_kind() -> None:
    tally = Tally()
    tally.add([(0.0, *WOOD)], [(0.0, "bounce", "snow")], 2.0, place_right=True)
    assert tally.kinds == {"bounce": [1, 1, 1, 0]}
    assert tally.rates()["whole clips"].right == 1


def test_a_quiet_clip_is_whole_only_with_its_place() -> None:
    tally = Tally()
    tally.add([], [], 2.0, place_right=True)
    tally.add([], [], 2.0, place_right=False)
    assert tally.rates()["whole clips"].value == 0.5
    assert "onsets" not in tally.rates()
    assert tally.as_dict()["false_per_second"] == 0
    assert "whole clips" in str(tally)
