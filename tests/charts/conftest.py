from pathlib import Path

import pytest

from tests.charts.rendering import Chart
from tests.cluster import binaries


@pytest.fixture(params=["helm", "helm4"])
def chart(request: pytest.FixtureRequest, tmp_path: Path) -> Chart:
    """The chart, by each major version of Helm."""
    program = binaries.path(request.param)
    if not program.exists():
        pytest.skip(f"needs Helm: python -m tests.cluster.binaries {request.param}")
    return Chart(program, tmp_path)
