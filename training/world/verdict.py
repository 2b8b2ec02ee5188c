"""What the judge says about a film, and how often it is right, with confidence intervals."""

from collections import defaultdict
from dataclasses import dataclass, field

from training.intervals import wilson
from training.world.scene import Scene

ATTRIBUTES = ("object", "colour", "motion", "place", "camera")
FIRST_FOUR = "first four"
"""Object, colour, motion and place all at once."""


@dataclass(frozen=True)
class Verdict:
    """What a film shows; each `confidence` is the lead of the answer over the next best, 0 for a tie.

    Leads are comparable only within one attribute.
    """

    object: str
    colour: str
    motion: str
    place: str
    camera: str
    confidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rate:
    """A share of right answers."""

    right: int
    count: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval after Wilson."""
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        """For example "0.950 [0.888, 0.978] n 100"."""
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}] n {self.count}"


class Tally:
    """Counts right answers per attribute and per class of the truth."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))

    def add(self, truth: Scene, verdict: Verdict) -> None:
        """Counts one film."""
        right = {name: getattr(truth, name) == getattr(verdict, name) for name in ATTRIBUTES}
        for name in ATTRIBUTES:
            self._count(name, getattr(truth, name), right[name])
        self._count(FIRST_FOUR, "", all(right[name] for name in ATTRIBUTES[:4]))

    def rates(self) -> dict[str, Rate]:
        """The rate of each attribute, and of the first four at once."""
        return {
            name: Rate(sum(right for right, _ in classes.values()), sum(count for _, count in classes.values()))
            for name, classes in self._counts.items()
        }

    def classes(self, attribute: str) -> dict[str, Rate]:
        """The rate of each class of an attribute, by the truth."""
        return {name: Rate(*counts) for name, counts in sorted(self._counts[attribute].items())}

    def as_dict(self) -> dict[str, dict[str, object]]:
        """Everything counted, ready for JSON."""
        return {
            name: {
                **_plain(rate),
                "classes": {}
                if name == FIRST_FOUR
                else {key: _plain(value) for key, value in self.classes(name).items()},
            }
            for name, rate in self.rates().items()
        }

    def __str__(self) -> str:
        """A table: a line for each attribute, and under it one for each class."""
        lines = []
        for name, rate in self.rates().items():
            lines.append(f"{name:12} {rate}")
            if name != FIRST_FOUR:
                lines += [f"    {key:12} {value}" for key, value in self.classes(name).items()]
        return "\n".join(lines)

    def _count(self, attribute: str, name: str, right: bool) -> None:
        counts = self._counts[attribute][name]
        counts[0] += right
        counts[1] += 1


def _plain(rate: Rate) -> dict[str, object]:
    low, high = rate.interval
    return {"rate": rate.value, "low": low, "high": high, "right": rate.right, "count": rate.count}
