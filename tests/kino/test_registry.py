import hashlib
import json
import resource
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kino.files import FullError
from kino.manifest import Manifest
from kino.registry import Registry, VersionExistsError, models_folder
from kino.store import DamagedError, NotFoundError

WEIGHTS = b"these are the weights"
MANIFEST = Manifest("tae", "1", "mini", {"widths": (16, 32)}, recipe="tae_mini", created="2026-01-02T03:04:05Z")


@pytest.fixture
def folder(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture(params=["folder", "bucket"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """The same promises are kept by both."""
    if request.param == "folder":
        return Registry(request.getfixturevalue("tmp_path") / "models")
    return Registry(request.getfixturevalue("bucket_url"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "weights").write_bytes(WEIGHTS)
    (tmp_path / "card").write_text("# TAE\n")
    return {"model.safetensors": tmp_path / "weights", "card.md": tmp_path / "card"}


def test_a_published_version_is_resolved_with_the_digests_of_its_files(
    registry: Registry, files: dict[str, Path]
) -> None:
    published = registry.publish(MANIFEST, files)
    assert published.digests == {
        "card.md": hashlib.sha256(b"# TAE\n").hexdigest(),
        "model.safetensors": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    assert published == replace(MANIFEST, config={"widths": [16, 32]}, digests=published.digests)
    assert registry.resolve("tae", "1") == published
    assert registry.file(published, "model.safetensors").read_bytes() == WEIGHTS


def test_a_folder_holds_whole_versions_alone(folder: Registry, files: dict[str, Path]) -> None:
    published = folder.publish(MANIFEST, files)
    folder.attach_graph(published, b"a graph")
    with pytest.raises(VersionExistsError):
        folder.publish(replace(MANIFEST, recipe="other"), files)
    (folder.root / "tae" / ".publishing-left-by-a-crash").mkdir()
    (folder.root / "tae" / "empty").mkdir()
    assert folder.versions("tae") == ["1"]
    assert sorted(path.name for path in (folder.root / "tae" / "1").iterdir()) == [
        "card.md",
        "manifest.json",
        "model.onnx",
        "model.safetensors",
    ]
    folder.delete("tae", "1")
    assert sorted(path.name for path in (folder.root / "tae").iterdir()) == [".publishing-left-by-a-crash", "empty"]


def test_components_and_versions_are_listed(registry: Registry, files: dict[str, Path]) -> None:
    assert (registry.components(), registry.versions("tae"), registry.aliases("tae")) == ([], [], {})
    for component, version in (("tae", "2"), ("tae", "1"), ("dit", "mini-1")):
        registry.publish(replace(MANIFEST, component=component, version=version), files)
    assert registry.components() == ["dit", "tae"]
    assert registry.versions("tae") == ["1", "2"]


def test_publishing_the_same_again_changes_nothing(registry: Registry, files: dict[str, Path]) -> None:
    first = registry.publish(MANIFEST, files)
    again = registry.publish(replace(MANIFEST, created="2027-01-01T00:00:00Z"), files)
    assert again == first
    assert registry.resolve("tae", "1").created == "2026-01-02T03:04:05Z"


def test_a_version_never_changes(registry: Registry, files: dict[str, Path]) -> None:
    first = registry.publish(MANIFEST, files)
    with pytest.raises(VersionExistsError, match="tae/1 exists with other content, take a new name"):
        registry.publish(replace(MANIFEST, recipe="other"), files)
    files["model.safetensors"].write_bytes(b"other weights")
    with pytest.raises(VersionExistsError, match="tae/1 exists with other content"):
        registry.publish(MANIFEST, files)
    assert registry.resolve("tae", "1") == first
    assert registry.file(first, "model.safetensors").read_bytes() == WEIGHTS


def test_a_graph_is_attached_and_replaced_and_the_digest_stays(registry: Registry, files: dict[str, Path]) -> None:
    published = registry.publish(MANIFEST, files)
    for content in (b"a graph", b"another graph"):
        attached = registry.attach_graph(published, content)
        assert attached.digests == {**published.digests, "model.onnx": hashlib.sha256(content).hexdigest()}
        assert registry.resolve("tae", "1") == attached
        assert registry.file(attached, "model.onnx").read_bytes() == content
        assert attached.digest == published.digest
    assert registry.publish(MANIFEST, files) == attached
    with pytest.raises(NotFoundError, match="tae has no version '2'"):
        registry.attach_graph(replace(MANIFEST, version="2"), b"a graph")


def test_what_judges_found_is_attached_and_replaced_and_the_digest_stays(
    registry: Registry, files: dict[str, Path]
) -> None:
    published = registry.publish(replace(MANIFEST, metrics={"psnr": 23.5}), files)
    for share in (0.5, 0.75):
        judged = registry.attach_figures(published, "films 1:1 2 s", {"object": share})
        assert judged.metrics == {"psnr": 23.5, "films 1:1 2 s: object": share}
        assert registry.resolve("tae", "1") == judged
        assert (judged.digests, judged.digest) == (published.digests, published.digest)
    assert registry.publish(replace(MANIFEST, metrics={"psnr": 23.5}), files) == judged
    with pytest.raises(VersionExistsError):
        registry.publish(replace(MANIFEST, metrics={"psnr": 24.5}), files)


def test_a_replacement_that_was_cut_short_is_refused(folder: Registry, files: dict[str, Path]) -> None:
    attached = folder.attach_graph(folder.publish(MANIFEST, files), b"a graph")
    (folder.root / "tae" / "1" / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(DamagedError, match=r"model\.onnx"):
        folder.file(attached, "model.onnx")


def test_of_many_who_publish_one_version_one_wins(registry: Registry, tmp_path: Path) -> None:
    outcomes = []

    def publish(number: int) -> None:
        path = tmp_path / f"weights-{number}"
        path.write_bytes(bytes([number]))
        try:
            outcomes.append(registry.publish(MANIFEST, {"model.safetensors": path}).digest)
        except VersionExistsError:
            outcomes.append("refused")

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] != ["refused"] * 8
    assert outcomes.count("refused") == 7
    assert registry.resolve("tae", "1").digest in outcomes


def test_an_unknown_version_is_answered_with_the_known_ones(registry: Registry, files: dict[str, Path]) -> None:
    with pytest.raises(NotFoundError, match="tae has no version '9'; known: none"):
        registry.resolve("tae", "9")
    registry.publish(MANIFEST, files)
    registry.publish(replace(MANIFEST, version="2"), files)
    registry.set_alias("tae", "latest", "2", expected=None)
    with pytest.raises(NotFoundError, match="tae has no version '9'; known: 1, 2, latest"):
        registry.resolve("tae", "9")


def test_sizes_are_told_without_reading(registry: Registry, files: dict[str, Path]) -> None:
    published = registry.publish(MANIFEST, files)
    assert registry.size_bytes(published, "model.safetensors") == len(WEIGHTS)
    with pytest.raises(NotFoundError, match=r"tae/1 has no file 'vocab\.json'"):
        registry.size_bytes(published, "vocab.json")


@pytest.mark.parametrize(
    "name", ["", "..", "../tae", "/etc", "a/b", ".hidden", "Tae", "a b", "a\n", "a" * 65, "aliases"]
)
def test_no_name_leaves_the_registry(registry: Registry, files: dict[str, Path], name: str) -> None:
    published = registry.publish(MANIFEST, files)
    with pytest.raises(ValueError, match="component is"):
        registry.resolve(name, "1")
    with pytest.raises(ValueError, match="version is"):
        registry.resolve("tae", name)
    with pytest.raises(ValueError, match="component is"):
        registry.publish(replace(MANIFEST, component=name), files)
    with pytest.raises(ValueError, match="version is"):
        registry.publish(replace(MANIFEST, version=name), files)
    with pytest.raises(ValueError, match="alias is"):
        registry.set_alias("tae", name, "1", expected=None)
    with pytest.raises(ValueError, match="file is"):
        registry.publish(replace(MANIFEST, version="2"), {name.replace("/", "//"): files["card.md"]})
    with pytest.raises(ValueError, match="version is"):
        registry.file(replace(published, version=name), "card.md")
    assert registry.versions("tae") == ["1"]


def test_a_file_that_the_version_does_not_have_is_not_found(registry: Registry, files: dict[str, Path]) -> None:
    published = registry.publish(MANIFEST, files)
    for name in ("vocab.json", "manifest.json", "../../tae/1/card.md"):
        with pytest.raises(NotFoundError, match="tae/1 has no file"):
            registry.file(published, name)


@pytest.mark.parametrize("content", [b"", WEIGHTS[:-1], b"T" + WEIGHTS[1:]], ids=["empty", "truncated", "altered"])
def test_a_damaged_file_is_named_with_both_digests(folder: Registry, files: dict[str, Path], content: bytes) -> None:
    published = folder.publish(MANIFEST, files)
    path = folder.root / "tae" / "1" / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        folder.file(published, "model.safetensors")
    assert caught.value.name == str(path)
    assert caught.value.expected == f"sha256 {hashlib.sha256(WEIGHTS).hexdigest()}"
    assert caught.value.actual == f"sha256 {hashlib.sha256(content).hexdigest()}"


def test_a_missing_file_is_named(folder: Registry, files: dict[str, Path]) -> None:
    published = folder.publish(MANIFEST, files)
    (folder.root / "tae" / "1" / "model.safetensors").unlink()
    with pytest.raises(DamagedError, match="found no file"):
        folder.file(published, "model.safetensors")


@pytest.mark.parametrize("text", ["", "{", "{}", "\udcff"])
def test_a_damaged_manifest_is_named(folder: Registry, files: dict[str, Path], text: str) -> None:
    folder.publish(MANIFEST, files)
    (folder.root / "tae" / "1" / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DamagedError, match=r"tae/1/manifest.json is damaged: expected a manifest"):
        folder.resolve("tae", "1")


def test_the_manifest_of_another_version_is_damage(folder: Registry, files: dict[str, Path]) -> None:
    folder.publish(MANIFEST, files)
    path = folder.root / "tae" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "2"}))
    with pytest.raises(DamagedError, match="expected the manifest of tae/1, found the manifest of tae/2"):
        folder.resolve("tae", "1")


def test_a_version_has_files(registry: Registry, files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="must be at least one file"):
        registry.publish(MANIFEST, {})
    with pytest.raises(ValueError, match=r"must be at least one file and not manifest.json"):
        registry.publish(MANIFEST, {"manifest.json": files["card.md"]})


@pytest.fixture
def small_files_only() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_version(
    folder: Registry, files: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    files["model.safetensors"].write_bytes(bytes(200_000))
    request.getfixturevalue("small_files_only")
    with pytest.raises(FullError, match="no room left"):
        folder.publish(MANIFEST, files)
    assert list((folder.root / "tae").iterdir()) == []
    files["model.safetensors"].write_bytes(WEIGHTS)
    assert folder.publish(MANIFEST, files).version == "1"


def test_the_registry_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KINO_MODELS", str(tmp_path / "m"))
    assert models_folder() == str(tmp_path / "m")
    monkeypatch.delenv("KINO_MODELS")
    assert sorted(path.name for path in Path(models_folder()).iterdir())[:2] == ["audio", "byt5"]


def test_files_of_a_version_may_lie_in_folders(registry: Registry, files: dict[str, Path]) -> None:
    published = registry.publish(MANIFEST, {"vae/model.safetensors": files["model.safetensors"]})
    path = registry.file(published, "vae/model.safetensors")
    assert path == registry.folder(published) / "vae" / "model.safetensors"
    assert path.read_bytes() == WEIGHTS
    for name in ("../model.safetensors", "/model.safetensors", "vae/../../x", "vae//x"):
        with pytest.raises(ValueError, match="file is"):
            registry.publish(replace(MANIFEST, version="2"), {name: files["model.safetensors"]})
    assert registry.versions("tae") == ["1"]
