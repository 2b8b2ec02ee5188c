"""The start of Ray, with Ray's own `init` replaced by one that is late."""

import pytest
import ray

from services.graph.ray_node import start_ray

_LATE_GCS = RuntimeError("Timed out waiting for file gcs_server_port")
_LATE_NODE = Exception("The current node timed out during startup.")


class Starts:
    """Counts starts and raises what it was given, one error a start."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.count = 0

    def __call__(self, address: str, **_: object) -> None:
        assert address == "local"
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize("late", [_LATE_GCS, _LATE_NODE], ids=["control store", "node"])
def test_a_ray_that_was_late_is_started_again(late: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts([late, late])
    monkeypatch.setattr(ray, "init", starts)
    start_ray()
    assert starts.count == 3


def test_a_ray_that_never_starts_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts([_LATE_GCS] * 5)
    monkeypatch.setattr(ray, "init", starts)
    with pytest.raises(RuntimeError, match="Timed out waiting for file"):
        start_ray()
    assert starts.count == 3
