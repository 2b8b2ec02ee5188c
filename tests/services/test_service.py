"""The settings of a service: its store, which may come a moment after it."""

from pathlib import Path

import pytest

from kino.store import BucketMissingError, Store, StoreDeniedError, StoreError, StoreUnavailableError, open_store
from services import service
from services.service import ServiceConfig


class Comes:
    """Opens a store after as many errors as there are."""

    def __init__(self, folder: Path, *errors: StoreError) -> None:
        self.folder, self.errors, self.calls = folder, list(errors), 0

    def __call__(self, url: str) -> Store:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return open_store(str(self.folder))


async def opened(monkeypatch: pytest.MonkeyPatch, comes: Comes, patience: float) -> Store:
    monkeypatch.setattr(service, "open_store", comes)
    monkeypatch.setattr(service, "_PAUSE_SECONDS", 0.01)
    return await ServiceConfig("nano", "nano", "s3://films", "models", store_patience_seconds=patience).open_store()


async def test_a_bucket_that_comes_later_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    comes = Comes(tmp_path, StoreUnavailableError("nobody answers"), BucketMissingError("there is no bucket 'films'"))
    await opened(monkeypatch, comes, 60)
    assert comes.calls == 3
    assert [record.error for record in caplog.records] == ["nobody answers", "there is no bucket 'films'"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "patience", "calls"),
    [(BucketMissingError("none"), 0, 1), (StoreDeniedError("wrong keys"), 60, 1), (StoreError("bad"), 60, 1)],
)
async def test_what_waiting_does_not_mend_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StoreError, patience: float, calls: int
) -> None:
    comes = Comes(tmp_path, error)
    with pytest.raises(type(error), match=str(error)):
        await opened(monkeypatch, comes, patience)
    assert comes.calls == calls


async def test_a_bucket_that_never_comes_is_told_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comes = Comes(tmp_path, *[BucketMissingError("none")] * 1000)
    with pytest.raises(BucketMissingError, match="none"):
        await opened(monkeypatch, comes, 0.1)
    assert comes.calls > 1
