"""The chart on a real cluster: every pod Ready, a film through it that equals the laptop's."""

import subprocess
import sys
from pathlib import Path

import pytest

from kino.client import Kino
from services.service import NAMES
from tests.cluster import release
from tests.cluster.tools import get

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_every_service_has_a_ready_pod_of_its_own(installed: None) -> None:
    selector = f"--selector=app.kubernetes.io/instance={release.NAME}"
    found = get("pods", f"--namespace={release.NAMESPACE}", selector, "--field-selector=status.phase=Running")
    ready = {
        row["metadata"]["labels"]["app.kubernetes.io/component"]: status["ready"]
        for row in found["items"]
        for status in row["status"]["containerStatuses"]
    }
    assert ready == dict.fromkeys((*NAMES, "minio", "postgresql"), True)


def test_helm_test_makes_a_film(installed: None) -> None:
    assert "Succeeded" in release.helm("test", release.NAME, "--timeout=5m")


def test_a_film_equals_that_of_a_laptop(kino: Kino, tmp_path: Path) -> None:
    film = kino.film("a red ball bounces across a green meadow", seconds=1, seed=7)
    order = ("film", "a red ball bounces across a green meadow", "--seconds", "1", "--seed", "7", "--preset", "nano")
    command = [sys.executable, "-m", "kino.cli", *order, "--data", str(tmp_path), "--out", str(tmp_path / "film.mp4")]
    subprocess.run(command, check=True, capture_output=True)
    assert film.video == (tmp_path / "film.mp4").read_bytes()
