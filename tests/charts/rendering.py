"""The chart as a Helm renders it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "kino"
URL = "s3://kino/artifacts?endpoint=http://minio:9000"
APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "ray.io/v1/RayService")
Manifest = dict[str, Any]
Manifests = dict[tuple[str, str], Manifest]

EXTERNAL: Manifest = {"store": URL, "storeSecret": "kino-s3"}
"""What a release has to be told that brings no servers of its own."""
_ON_A_VOLUME: Manifest = {
    "minio": {"enabled": False},
    "postgresql": {"enabled": False},
    "ledger": {"volume": {"enabled": True}},
}


@dataclass(frozen=True)
class Chart:
    """The chart, a Helm, and a folder for values."""

    program: Path
    folder: Path

    def helm(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """What Helm says."""
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False)

    def values(self, values: Manifest, *files: str, own: bool = False) -> list[str | Path]:
        """Flags with the chart's files and then these values, beside servers of others unless `own`."""
        trial = _ON_A_VOLUME if "values-cpu.yaml" in files else {}
        (self.folder / "values.yaml").write_text(yaml.safe_dump(values if own else {**EXTERNAL, **trial, **values}))
        paths = [*(CHART / name for name in files), self.folder / "values.yaml"]
        return [part for path in paths for part in ("--values", path)]

    def template(
        self, values: Manifest, *files: str, apis: tuple[str, ...] = APIS, own: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """What `helm template` says."""
        flags = ("demo", CHART, "--namespace", "films", "--kube-version", "1.35.0")
        known = [part for api in apis for part in ("--api-versions", api)]
        return self.helm("template", *flags, *self.values(values, *files, own=own), *known)

    def render(self, values: Manifest, *files: str, apis: tuple[str, ...] = APIS, own: bool = False) -> Manifests:
        """Every manifest, by kind and name."""
        done = self.template(values, *files, apis=apis, own=own)
        assert done.returncode == 0, done.stderr
        found = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}


def pod(found: Manifests, name: str, kind: str = "Deployment") -> Manifest:
    """The pod of a service, or of a part of another kind."""
    spec: Manifest = found[kind, f"demo-kino-{name}"]["spec"]["template"]["spec"]
    return spec
