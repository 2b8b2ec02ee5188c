import pytest

from training.world.scene import Scene
from training.world.verdict import Rate, Tally, Verdict


def test_wilson_intervals() -> None:
    assert Rate(10, 10).interval == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert Rate(50, 100).interval == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert str(Rate(95, 100)) == "0.950 [0.888, 0.978] n 100"


def test_a_tally_counts_attributes_classes_and_the_first_four() -> None:
    tally = Tally()
    scene = Scene("cat", "red", "spins", "room", "pans left")
    tally.add(scene, Verdict("cat", "red", "spins", "room", "still"))
    tally.add(scene, Verdict("fish", "red", "spins", "room", "pans left"))
    rates = tally.rates()
    assert (rates["object"].right, rates["object"].count) == (1, 2)
    assert rates["colour"].value == 1.0
    assert rates["camera"].value == 0.5
    assert rates["first four"].value == 0.5
    assert tally.classes("object")["cat"].right == 1
    assert tally.as_dict()["motion"]["rate"] == 1.0
    assert "pans left" in str(tally)
