"""A run's checkpoint and loss curve in a store, so that other machines can go on with it and people can look at it.

Of each run the store holds the last checkpoint, its figures and its curve; the records say which artifacts they are::

    records/runs/<recipe>/checkpoint    address of the checkpoint
    records/runs/<recipe>/metrics       address of metrics.jsonl, as it was then
    records/runs/<recipe>/curves        address of curves.png, where there is one
    records/runs/<recipe>/latents       addresses of the latents that it learns from, by file, once they are encoded
    records/runs/<recipe>/steps         how many steps it took, once it has ended
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from kino.files import commit, scratch_file
from kino.store import NotFoundError, Store, open_store
from training import checkpoint
from training.latents import DONE

_KINDS = {
    "metrics": (checkpoint.METRICS_FILE, "application/x-ndjson"),
    "curves": ("curves.png", "image/png"),
    "checkpoint": (checkpoint.FILE_NAME, "application/x-pytorch"),
}
"""File and media type of each record. The checkpoint is last: figures beyond it are cut off on resuming."""


class RunStore:
    """The place of one run in a store; errors are the store's.

    Args:
        url: of the store, as `kino.store.open_store` takes it.
        name: of the recipe.
    """

    def __init__(self, url: str, name: str) -> None:
        self.store: Store = open_store(url)
        self.url, self.name = url, name

    def save(self, folder: Path) -> None:
        """Put what the folder of a run holds into the store, and let go of what was there."""
        for kind, (file_name, media_type) in _KINDS.items():
            if not (folder / file_name).exists():
                continue
            record = f"runs/{self.name}/{kind}"
            before = (self.store.records.read(record) or b"").decode()
            uri = self.store.put(folder / file_name, media_type).uri
            self.store.records.write(record, uri.encode())
            if before not in ("", uri):
                self._forget(before)

    def latest(self) -> str:
        """Return the address of the last checkpoint, empty where there is none."""
        return (self.store.records.read(f"runs/{self.name}/checkpoint") or b"").decode()

    def fetch(self, uri: str, folder: Path, figures: bool) -> None:
        """Write a checkpoint of the store into the folder of a run, and the figures up to it where asked for."""
        wanted = [(uri, checkpoint.FILE_NAME)]
        metrics = self.store.records.read(f"runs/{self.name}/metrics")
        if figures and metrics is not None:
            wanted.append((metrics.decode(), checkpoint.METRICS_FILE))
        for address, name in wanted:
            self._write(address, folder, name)

    def finish(self, steps: int) -> None:
        """Say that the run has ended after so many steps."""
        self.store.records.write(f"runs/{self.name}/steps", str(steps).encode())

    def steps(self) -> int:
        """Return how many steps the run has ended after, 0 while it has not."""
        return int(self.store.records.read(f"runs/{self.name}/steps") or 0)

    def save_latents(self, files: Iterable[Path]) -> None:
        """Put the latents that the run learns from into the store."""
        found = {path.name: self.store.put(path, "application/octet-stream").uri for path in files}
        self.store.records.write(f"runs/{self.name}/latents", json.dumps(found).encode())

    def has_latents(self) -> bool:
        """Return whether somebody has encoded them."""
        return self.store.records.read(f"runs/{self.name}/latents") is not None

    def fetch_latents(self, folder: Path) -> None:
        """Write the latents of the store that a folder lacks; the mark that they are whole comes last."""
        found: dict[str, str] = json.loads(self.store.records.read(f"runs/{self.name}/latents") or b"{}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(found, key=lambda name: name.endswith(DONE)):
            if not (folder / name).exists():
                self._write(found[name], folder, name)

    def _write(self, uri: str, folder: Path, name: str) -> None:
        with self.store.open(uri) as source, scratch_file(folder) as file:
            shutil.copyfileobj(source, file)
            commit(folder, file, name)

    def _forget(self, uri: str) -> None:
        try:
            self.store.delete(uri)
        except NotFoundError:
            return  # another worker that was taken for dead has done it
