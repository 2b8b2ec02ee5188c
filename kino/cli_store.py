"""The command `kino store`, for whoever runs the servers: a bucket made ready, and links for those without keys."""

import argparse
from typing import TYPE_CHECKING

from kino.cli_view import print_json
from kino.errors import STORE_ERRORS, FailedPreconditionError, InvalidArgumentError, as_kino_error

if TYPE_CHECKING:
    from kino.bucket_store import BucketStore


async def prepare(given: argparse.Namespace) -> int:
    """Make the bucket of a store where it is missing, and let what can be computed again expire."""
    try:
        store = _store(given)
        store.prepare(given.scratch_days)
    except STORE_ERRORS as error:
        raise as_kino_error(error) from error
    if given.json:
        print_json({"store": store.bucket.name, "scratch_days": given.scratch_days})
    else:
        print(f"{store.bucket.name}: tensors and checkpoints expire after {given.scratch_days} days, films stay")
    return 0


async def link(given: argparse.Namespace) -> int:
    """Print a URL by which anyone may download an artifact for a while."""
    try:
        url = _store(given).link(given.uri, given.seconds)
    except STORE_ERRORS as error:
        raise as_kino_error(error) from error
    if given.json:
        print_json({"uri": given.uri, "url": url, "seconds": given.seconds})
    else:
        print(url)
    return 0


def _store(given: argparse.Namespace) -> "BucketStore":
    if not given.store.startswith("s3://"):
        raise InvalidArgumentError("STORE", given.store, "s3://bucket: a folder has no server to prepare or to link to")
    try:
        from kino.bucket import Bucket
        from kino.bucket_store import BucketStore
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(f"{error.name} is not installed: s3:// needs kino's extra s3") from None
    return BucketStore(Bucket(given.store))
