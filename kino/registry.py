"""The model registry: published versions of each component, each whole and unchangeable, and aliases that move.

It lies in a folder (`kino.versions`) or in a bucket of an S3 server (`kino.bucket_versions`). Two aliases have a
meaning of their own: training moves `candidate`, a person moves `production`.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from kino.manifest import Manifest
from kino.records import ConflictError, Records
from kino.store import DamagedError, NotFoundError
from kino.versions import ALIASES, MANIFEST_FILE, NAME, FolderVersions, Versions, digest_of_file

WEIGHTS_FILE = "model.safetensors"
GRAPH_FILE = "model.onnx"
PRODUCTION = "production"
_HISTORY = 10  # versions that an alias remembers
_Change = Callable[[Manifest], Manifest]


def models_folder() -> str:
    """Return where published versions lie unless told otherwise: `$KINO_MODELS`, or `models` beside the packages."""
    return os.environ.get("KINO_MODELS", "") or str(Path(__file__).parents[1] / "models")


class VersionExistsError(Exception):
    """A version of this name was published with other content; versions never change."""


class Registry:
    """The versions in a folder, or in a bucket named by an `s3://` URL as in `kino.bucket_url`.

    A bucket raises the errors of `kino.bucket.Bucket` from every method besides those that are named.

    Raises:
        ValueError: the URL is malformed.
        kino.store.StoreDeniedError: there are no keys for the bucket.
        ModuleNotFoundError: a bucket is named, and the extra s3 is not installed.
    """

    def __init__(self, place: str | Path) -> None:
        self._versions = _open(place)
        self.name, self.root = self._versions.name, self._versions.root

    def components(self) -> list[str]:
        """Return the names of all components."""
        return self._versions.components()

    def versions(self, component: str) -> list[str]:
        """Return the published versions of a component, sorted by name."""
        return self._versions.versions(_checked_name("component", component))

    def manifests(self, component: str) -> list[Manifest]:
        """Return the manifest of every version that is there, sorted by name; `DamagedError` where one is broken."""
        found = (self._manifest(component, version) for version in self.versions(component))
        return [manifest for manifest in found if manifest is not None]

    def aliases(self, component: str) -> dict[str, str]:
        """Return the version that each alias of a component stands for."""
        return {alias: versions[0] for alias, versions in self.histories(component).items()}

    def histories(self, component: str) -> dict[str, list[str]]:
        """Return the version that each alias stands for, and those it stood for before, the last one first."""
        records = self._aliases(component)
        found = {alias: _history(records.read(alias)) for alias in records.list()}
        return {alias: versions for alias, versions in found.items() if versions}

    def resolve(self, component: str, version: str) -> Manifest:
        """Return the manifest of a version or of what an alias stands for.

        Raises:
            ValueError: a name is malformed.
            NotFoundError: there is no such version; those there are are named.
            DamagedError: its manifest is broken.
        """
        _checked_name("component", component)
        name = _checked_name("version", version)
        manifest = self._manifest(component, name)
        if manifest is None:
            history = _history(self._aliases(component).read(name))
            manifest = self._manifest(component, _checked_name("version", history[0])) if history else None
        if manifest is None:
            known = ", ".join([*self.versions(component), *self.aliases(component)]) or "none"
            raise NotFoundError(f"{component} has no version {version!r}; known: {known}")
        return manifest

    def file(self, manifest: Manifest, name: str) -> Path:
        """Return the path of a version's file on this machine after its digest was verified.

        Raises:
            NotFoundError: the version has no such file.
            DamagedError: the file is missing, truncated or altered.
            kino.files.FullError: no room is left for a copy of it.
        """
        expected = manifest.digests.get(name)
        if expected is None:
            raise NotFoundError(f"{manifest.component}/{manifest.version} has no file {name!r}")
        component, version = _checked_name("component", manifest.component), _checked_name("version", manifest.version)
        return self._versions.file(component, version, name, expected)

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder on this machine that a version's files lie in once `file` has been asked for them."""
        return self.root / _checked_name("component", manifest.component) / _checked_name("version", manifest.version)

    def size_bytes(self, manifest: Manifest, name: str) -> int:
        """Return the size of a version's file without reading it; raises as `file`, where it is missing."""
        if name not in manifest.digests:
            raise NotFoundError(f"{manifest.component}/{manifest.version} has no file {name!r}")
        component, version = _checked_name("component", manifest.component), _checked_name("version", manifest.version)
        return self._versions.size_bytes(component, version, name, manifest.digests[name])

    def publish(self, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
        """Add a version with copies of these files, whole or not at all, and return its manifest with their digests.

        Publishing the same again changes nothing and returns the manifest that is there.

        Args:
            files: by the name that each gets, which may lie in a folder, as `vae/config.json` does.

        Raises:
            ValueError: a name is malformed or taken by an alias, or there is no file.
            VersionExistsError: the version exists with other content.
            kino.files.FullError: no room is left.
        """
        component, version = _checked_name("component", manifest.component), _checked_name("version", manifest.version)
        if self._aliases(component).read(version) is not None:
            raise ValueError(f"version is {version!r}, must not be the name of an alias")
        if not files or MANIFEST_FILE in files:
            raise ValueError(f"files is {sorted(files)}, must be at least one file and not {MANIFEST_FILE}")
        for name in files:
            for part in name.split("/"):
                _checked_name("file", part)
        digests = {name: digest_of_file(path) for name, path in sorted(files.items())}
        published = Manifest.from_json(replace(manifest, digests=digests).to_json())
        if self._versions.manifest(component, version) is not None:
            return self._same(published)
        added = self._versions.add(component, version, published.to_json().encode(), files)
        return published if added else self._same(published)

    def attach_graph(self, manifest: Manifest, content: bytes) -> Manifest:
        """Add `model.onnx` to a published version, or replace it, and return the manifest; its digest stays.

        Whoever dies between the two writes of a replacement leaves a file that `file` refuses until that is done again.

        Raises:
            NotFoundError, DamagedError: as `resolve`.
            kino.files.FullError: no room is left.
        """
        graph = {GRAPH_FILE: hashlib.sha256(content).hexdigest()}
        return self._amend(manifest, {GRAPH_FILE: content}, lambda was: replace(was, digests={**was.digests, **graph}))

    def attach_figures(self, manifest: Manifest, subject: str, figures: Mapping[str, float]) -> Manifest:
        """Let a version say what judges found; its digest stays. Raises as `attach_graph` and as `with_judged`."""
        return self._amend(manifest, {}, lambda was: was.with_judged(subject, figures))

    def set_alias(self, component: str, alias: str, version: str, expected: str | None) -> None:
        """Let an alias stand for a version.

        Args:
            expected: the version that it stands for so far, None where it is new.

        Raises:
            ValueError: a name is malformed or taken by a version.
            NotFoundError: there is no such version.
            kino.records.ConflictError: the alias stands for another version than expected.
        """
        if self._versions.manifest(_checked_name("component", component), _checked_name("alias", alias)) is not None:
            raise ValueError(f"alias is {alias!r}, must not be the name of a version")
        target = self.resolve(component, version).version
        records = self._aliases(component)
        before = records.read(alias)
        history = _history(before)
        if history[:1] != ([] if expected is None else [expected]):
            raise ConflictError(f"record {alias}: holds {history[:1]}, the writer expected {expected!r}")
        if history[:1] != [target]:
            self._move(component, alias, before, [target, *history])

    def roll_back(self, component: str, alias: str) -> str:
        """Let an alias stand for what it stood for before, and return that version.

        Raises:
            ValueError: a name is malformed.
            NotFoundError: it stood for nothing before, or for a version that is gone.
            kino.records.ConflictError: somebody else moved it at the same time.
        """
        records = self._aliases(component)
        before = records.read(_checked_name("alias", alias))
        history = _history(before)
        if len(history) < 2:
            raise NotFoundError(f"{component} has no earlier version for the alias {alias!r} to go back to")
        target = self.resolve(component, history[1]).version
        self._move(component, alias, before, history[1:])
        return target

    def delete(self, component: str, version: str) -> None:
        """Remove a version.

        Raises:
            ValueError: a name is malformed, or an alias stands for the version.
            NotFoundError: there is no such version.
        """
        target = self.resolve(component, version).version

        def held() -> bool:
            return bool(self._holders(component, target))

        if held() or not self._versions.delete(component, target, held):
            holders = ", ".join(self._holders(component, target)) or "one that has just moved on"
            raise ValueError(f"version is {target!r}, must be one that no alias stands for: {holders} does")

    def discard(self, manifest: Manifest) -> bool:
        """Remove a version and return True; False where an alias stands for it, or somebody else has removed it."""
        try:
            self.delete(manifest.component, manifest.version)
        except (ValueError, NotFoundError):
            return False
        return True

    def _holders(self, component: str, version: str) -> list[str]:
        return [alias for alias, name in self.aliases(component).items() if name == version]

    def _move(self, component: str, alias: str, before: bytes | None, history: list[str]) -> None:
        """Write what an alias stands for; undone where that version was deleted at the same time.

        Who deletes looks for aliases once the version is gone, and who moves one looks for the version once it has
        moved: one of them sees the other, and no alias is left without its version.
        """
        records, moved = self._aliases(component), _text(history)
        records.swap(alias, before, moved)
        if self._versions.manifest(component, history[0]) is None:
            with suppress(ConflictError):  # somebody has moved it on
                records.swap(alias, moved, before if before is not None else _text([]))
            raise NotFoundError(f"{component}/{history[0]} was deleted while the alias {alias!r} moved to it")

    def _aliases(self, component: str) -> Records:
        return self._versions.aliases(_checked_name("component", component))

    def _manifest(self, component: str, version: str) -> Manifest | None:
        text = self._versions.manifest(component, version)
        return None if text is None else self._parsed(component, version, text)

    def _amend(self, manifest: Manifest, files: Mapping[str, bytes], change: _Change) -> Manifest:
        component, version = manifest.component, self.resolve(manifest.component, manifest.version).version

        def rewrite(text: bytes) -> bytes:
            return change(self._parsed(component, version, text)).to_json().encode()

        return self._parsed(component, version, self._versions.attach(component, version, files, rewrite))

    def _parsed(self, component: str, version: str, text: bytes) -> Manifest:
        place = f"{self.name.rstrip('/')}/{component}/{version}/{MANIFEST_FILE}"
        try:
            manifest = Manifest.from_json(text.decode())
        except ValueError as error:
            raise DamagedError(place, "a manifest", str(error)) from error
        if (manifest.component, manifest.version) != (component, version):
            found = f"the manifest of {manifest.component}/{manifest.version}"
            raise DamagedError(place, f"the manifest of {component}/{version}", found)
        return manifest

    def _same(self, published: Manifest) -> Manifest:
        """Return the version that is there already, if all but its time, its graph and what was judged is the same."""
        found = self.resolve(published.component, published.version)
        graph = {name: digest for name, digest in found.digests.items() if name == GRAPH_FILE}
        expected = replace(published, digests={**graph, **published.digests}, created=found.created)
        for subject, figures in found.judged.items():
            expected = expected.with_judged(subject, figures)
        if found != expected:
            raise VersionExistsError(f"{found.component}/{found.version} exists with other content, take a new name")
        return found


def _open(place: str | Path) -> Versions:
    if not str(place).startswith("s3://"):
        return FolderVersions(Path(place))
    from kino.bucket import Bucket  # an extra, and who has a folder has no need of it
    from kino.bucket_versions import BucketVersions

    return BucketVersions(Bucket(str(place)))


def _history(value: bytes | None) -> list[str]:
    """Return the versions that an alias's record names, the present one first."""
    return (value or b"").decode().split()


def _text(versions: list[str]) -> bytes:
    return "".join(f"{version}\n" for version in versions[:_HISTORY]).encode()


def _checked_name(field: str, name: str) -> str:
    if not NAME.fullmatch(name) or name == ALIASES:
        raise ValueError(f"{field} is {name[:80]!r}, must be 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit")
    return name
