"""Compares what was heard with what happened, and counts."""

from collections import defaultdict
from dataclasses import dataclass, field

from training.world.verdict import Rate

TOLERANCE_SECONDS = 0.0625
"""One frame at 16 frames per second. What happens in the last frame of a clip is too short to count, for or against."""

Timed = tuple[float, str, str]
"""Time in seconds, kind and material of an event."""


def matched(truth: list[Timed], heard: list[Timed]) -> list[tuple[Timed, Timed]]:
    """Pairs of an event and the sound that was heard of it: the nearest in time first, each used once."""
    near = sorted(
        (abs(event[0] - found[0]), i, j)
        for i, event in enumerate(truth)
        for j, found in enumerate(heard)
        if abs(event[0] - found[0]) <= TOLERANCE_SECONDS
    )
    pairs: dict[int, int] = {}
    for _, i, j in near:
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return [(truth[i], heard[j]) for i, j in pairs.items()]


@dataclass
class Tally:
    """Counts over clips.

    Attributes:
        kinds: by true kind, the events that happened, that were heard in time, that were heard as their kind, and
            that were heard as their kind on their material.
        confusions: how often one kind was heard as another.
        clips: clips, those whose place was heard, and those of which all was heard: the place, each event as its kind,
            and nothing else.
        false: sounds that were heard and had not happened.
        seconds: of all clips.
    """

    kinds: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0]))
    confusions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    clips: list[int] = field(default_factory=lambda: [0, 0, 0])
    false: int = 0
    seconds: float = 0.0

    def add(self, truth: list[Timed], heard: list[Timed], seconds: float, place_right: bool) -> None:
        """Counts one clip."""
        pairs = matched(truth, heard)
        last = seconds - TOLERANCE_SECONDS
        taken = [found for _, found in pairs]
        false = [found for found in heard if found not in taken and found[0] < last]
        answers = dict(pairs)
        wrong = 0
        for event in truth:
            if event[0] >= last:
                continue
            found = answers.get(event)
            right = found is not None and found[1] == event[1]
            steps = (True, found is not None, right, right and found is not None and found[2] == event[2])
            for index, passed in enumerate(steps):
                self.kinds[event[1]][index] += passed
            wrong += not right
            if found is not None and not right:
                self.confusions[f"{event[1]} as {found[1]}"] += 1
        for index, passed in enumerate((True, place_right, place_right and not wrong and not false)):
            self.clips[index] += passed
        self.false += len(false)
        self.seconds += seconds

    @property
    def false_per_second(self) -> float:
        """Sounds that had not happened, for each second."""
        return self.false / self.seconds

    def rates(self) -> dict[str, Rate]:
        """Shares of events (onsets in time, kinds, materials) and of clips (places, all at once)."""
        count, onsets, kinds, materials = (sum(row[index] for row in self.kinds.values()) for index in range(4))
        clips, places, whole = self.clips
        rates = {"places": Rate(places, clips), "whole clips": Rate(whole, clips)}
        if count == 0:
            return rates
        return {
            "onsets": Rate(onsets, count), "kinds": Rate(kinds, count), "materials": Rate(materials, count), **rates,
        }  # fmt: skip

    def as_dict(self) -> dict[str, object]:
        """Everything counted, ready for JSON."""
        shares = {
            name: {"rate": rate.value, "low": rate.interval[0], "high": rate.interval[1], "count": rate.count}
            for name, rate in self.rates().items()
        }
        names = ("count", "onsets", "kinds", "materials")
        kinds = {kind: dict(zip(names, row, strict=True)) for kind, row in sorted(self.kinds.items())}
        return {
            **shares,
            "false_per_second": self.false_per_second,
            "classes": kinds,
            "confusions": dict(sorted(self.confusions.items())),
        }

    def __str__(self) -> str:
        """A line for each share, the false onsets, and a line for each kind."""
        lines = [f"{name:12} {rate}" for name, rate in self.rates().items()]
        lines.append(f"{'false':12} {self.false_per_second:.3f} a second")
        lines += [
            f"    {kind:8} {count:4}  in time {onsets}, kind {kinds}, material {materials}"
            for kind, (count, onsets, kinds, materials) in sorted(self.kinds.items())
        ]
        lines += [f"    {name}: {count}" for name, count in sorted(self.confusions.items())]
        return "\n".join(lines)
