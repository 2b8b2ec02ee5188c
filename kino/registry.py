"""The model registry: published versions of each component, each whole and unchangeable.

It lies on disk as::

    models/<component>/<version>/manifest.json      what it is: see `kino.manifest`
    models/<component>/<version>/model.safetensors  the weights, and further files such as vocab.json and card.md
    models/<component>/<version>/model.onnx         the network as a graph over these weights: see `kino.exported`
    models/<component>/aliases/<alias>              the name of a version, moved by compare-and-swap
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kino.files import commit, folder_lock, full_is_typed, scratch_file, sync_folder
from kino.manifest import Manifest
from kino.records import FolderRecords
from kino.store import DamagedError, NotFoundError

WEIGHTS_FILE = "model.safetensors"
GRAPH_FILE = "model.onnx"
_MANIFEST_FILE = "manifest.json"
_ALIASES = "aliases"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def models_folder() -> Path:
    """Return where published versions lie unless told otherwise: `$KINO_MODELS`, or `models` beside the packages."""
    given = os.environ.get("KINO_MODELS", "")
    return Path(given) if given else Path(__file__).parents[1] / "models"


class VersionExistsError(Exception):
    """A version of this name was published with other content; versions never change."""


class Registry:
    """A registry in a folder, shared by processes. Reading needs no permission to write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def components(self) -> list[str]:
        """Return the names of all components."""
        return _folders(self.root)

    def versions(self, component: str) -> list[str]:
        """Return the published versions of a component, sorted by name."""
        folder = self.root / _checked_name("component", component)
        return [name for name in _folders(folder) if (folder / name / _MANIFEST_FILE).is_file()]

    def aliases(self, component: str) -> dict[str, str]:
        """Return the version that each alias of a component stands for."""
        records = self._aliases(component)
        return {alias: (records.read(alias) or b"").decode().strip() for alias in records.list()}

    def resolve(self, component: str, version: str) -> Manifest:
        """Return the manifest of a version or of what an alias stands for.

        Raises:
            ValueError: a name is malformed.
            NotFoundError: there is no such version; those there are are named.
            DamagedError: its manifest is broken.
        """
        name = _checked_name("version", version)
        if name not in self.versions(component):
            name = self.aliases(component).get(name, name)
        if name not in self.versions(component):
            known = ", ".join([*self.versions(component), *self.aliases(component)]) or "none"
            raise NotFoundError(f"{component} has no version {version!r}; known: {known}")
        return self._manifest(component, name)

    def file(self, manifest: Manifest, name: str) -> Path:
        """Return the path of a version's file after its digest was verified.

        Raises:
            NotFoundError: the version has no such file.
            DamagedError: the file is missing, truncated or altered.
        """
        expected = manifest.digests.get(name)
        if expected is None:
            raise NotFoundError(f"{manifest.component}/{manifest.version} has no file {name!r}")
        path = (
            self.root
            / _checked_name("component", manifest.component)
            / _checked_name("version", manifest.version)
            / name
        )
        actual = _digest(path) if path.is_file() else None
        if actual != expected:
            raise DamagedError(str(path), f"sha256 {expected}", f"sha256 {actual}" if actual else "no file")
        return path

    def publish(self, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
        """Add a version with copies of these files, whole or not at all, and return its manifest with their digests.

        Publishing the same again changes nothing and returns the manifest that is there.

        Raises:
            ValueError: a name is malformed or taken by an alias, or there is no file.
            VersionExistsError: the version exists with other content.
            kino.files.FullError: no room is left.
        """
        component = self.root / _checked_name("component", manifest.component)
        target = component / _checked_name("version", manifest.version)
        if manifest.version in self.aliases(manifest.component):
            raise ValueError(f"version is {manifest.version!r}, must not be the name of an alias")
        if not files or _MANIFEST_FILE in files:
            raise ValueError(f"files is {sorted(files)}, must be at least one file and not {_MANIFEST_FILE}")
        with full_is_typed(component):
            component.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=component, prefix=".publishing-") as scratch:
                staged = Path(scratch) / "staged"
                published = _stage(staged, manifest, files)
                with folder_lock(component):
                    if target.exists():
                        return self._same(published)
                    os.rename(staged, target)
                    sync_folder(component)
        return published

    def attach_graph(self, manifest: Manifest, content: bytes) -> Manifest:
        """Add `model.onnx` to a published version, or replace it, and return the manifest; its digest stays.

        Whoever dies between the two writes of a replacement leaves a file that `file` refuses until that is done again.

        Raises:
            NotFoundError, DamagedError: as `resolve`.
            kino.files.FullError: no room is left.
        """
        folder = self.root / manifest.component / self.resolve(manifest.component, manifest.version).version
        with folder_lock(folder.parent):
            found = self._manifest(manifest.component, folder.name)
            digests = {**found.digests, GRAPH_FILE: hashlib.sha256(content).hexdigest()}
            attached = replace(found, digests=dict(sorted(digests.items())))
            for name, written in ((GRAPH_FILE, content), (_MANIFEST_FILE, attached.to_json().encode())):
                with scratch_file(folder) as file:
                    file.write(written)
                    commit(folder, file, name)
        return attached

    def set_alias(self, component: str, alias: str, version: str, expected: str | None) -> None:
        """Let an alias stand for a version.

        Args:
            expected: the version that it stands for so far, None where it is new.

        Raises:
            ValueError: a name is malformed or taken by a version.
            NotFoundError: there is no such version.
            kino.records.ConflictError: the alias stands for another version than expected.
        """
        if _checked_name("alias", alias) in self.versions(component):
            raise ValueError(f"alias is {alias!r}, must not be the name of a version")
        target = self.resolve(component, version).version
        before = None if expected is None else f"{expected}\n".encode()
        self._aliases(component).swap(alias, before, f"{target}\n".encode())

    def _aliases(self, component: str) -> FolderRecords:
        return FolderRecords(self.root / _checked_name("component", component) / _ALIASES)

    def _manifest(self, component: str, version: str) -> Manifest:
        path = self.root / component / version / _MANIFEST_FILE
        try:
            manifest = Manifest.from_json(path.read_text())
        except ValueError as error:
            raise DamagedError(str(path), "a manifest", str(error)) from error
        if (manifest.component, manifest.version) != (component, version):
            found = f"the manifest of {manifest.component}/{manifest.version}"
            raise DamagedError(str(path), f"the manifest of {component}/{version}", found)
        return manifest

    def _same(self, published: Manifest) -> Manifest:
        """Return the version that is there already, if all but its time of publication and its graph is the same."""
        found = self._manifest(published.component, published.version)
        graph = {name: digest for name, digest in found.digests.items() if name == GRAPH_FILE}
        expected = replace(published, digests={**graph, **published.digests}, created=found.created)
        if found != expected:
            raise VersionExistsError(f"{found.component}/{found.version} exists with other content, take a new name")
        return found


def _stage(folder: Path, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
    """Write a whole version into a new folder, durably, and return its manifest."""
    folder.mkdir(mode=0o755)
    digests = {}
    for name, source in sorted(files.items()):
        target = folder / _checked_name("file", name)
        shutil.copyfile(source, target)
        digests[name] = _digest(target)
    published = Manifest.from_json(replace(manifest, digests=digests).to_json())
    (folder / _MANIFEST_FILE).write_text(published.to_json())
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
    return published


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def _checked_name(field: str, name: str) -> str:
    if not _NAME.fullmatch(name) or name == _ALIASES:
        raise ValueError(f"{field} is {name[:80]!r}, must be 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit")
    return name
