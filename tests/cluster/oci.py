"""Images as archives that containerd imports: of single files, or of layers over an image that it has."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Descriptor = dict[str, object]


@dataclass(frozen=True)
class Image:
    """What an image consists of: its manifest's layers, and its configuration, which names their content."""

    layers: Sequence[Descriptor]
    config: Mapping[str, Any]

    @property
    def contents(self) -> list[str]:
        """Digests of its layers before compression."""
        return list(self.config["rootfs"]["diff_ids"])


def write(target: Path, name: str, files: Mapping[str, Path], entrypoint: Sequence[str], user: str = "0:0") -> None:
    """Write an archive of one image, whose one layer holds executable files by their paths in it."""
    config = {"config": {"Entrypoint": list(entrypoint), "User": user}}
    write_over(target, name, Image([], {"rootfs": {"diff_ids": []}}), [_layer(files)], config)


def write_over(target: Path, name: str, below: Image, layers: Sequence[bytes], config: Mapping[str, Any]) -> None:
    """Write an archive of an image of layers over another one, whose own layers containerd has and this leaves out.

    Args:
        layers: as tar.
        config: of the image, where its layers need not be named.
    """
    with tarfile.open(target, "w") as archive:
        added = [_put(archive, LAYER, layer) for layer in layers]
        contents = [*below.contents, *(row["digest"] for row in added)]
        rootfs = {"type": "layers", "diff_ids": contents}
        whole = {"architecture": "amd64", "os": "linux", "config": config["config"], "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _put(archive, CONFIG, _json(whole)),
            "layers": [*below.layers, *added],
        }
        described = {**_put(archive, MANIFEST, _json(manifest)), "annotations": {"io.containerd.image.name": name}}
        _add(archive, "index.json", _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}))
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))


def _layer(files: Mapping[str, Path]) -> bytes:
    """Return the files as a tar that is the same every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for name, source in sorted(files.items()):
            _add(layer, name.lstrip("/"), source.read_bytes(), mode=0o755)
    return buffer.getvalue()


def _put(archive: tarfile.TarFile, kind: str, data: bytes) -> Descriptor:
    digest = hashlib.sha256(data).hexdigest()
    _add(archive, f"blobs/sha256/{digest}", data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
