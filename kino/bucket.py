"""A bucket of an S3 server such as MinIO: objects by key, conditional writes, retries that end, typed errors."""

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedRandom
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, AndOperator, Filter, Tags
from minio.credentials.providers import AWSConfigProvider, ChainedProvider, EnvAWSProvider
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from kino.bucket_url import BucketUrl
from kino.files import FullError, full_is_typed
from kino.records import ConflictError
from kino.store import BucketMissingError, NotFoundError, StoreDeniedError, StoreError, StoreUnavailableError

_CONNECT_SECONDS = 5.0
_AILING = (500, 502, 503, 504)
_PART_BYTES, _MAX_PARTS = 16 << 20, 10_000
_READ_BYTES = 1 << 20
_RULES = "kino/"
_WRITE_MARK = "X-Amz-Meta-Kino-Write"
_MISSING = ("NoSuchKey",)
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict")
_FULL = ("XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded")
_AWAY = ("RequestTimeout", "OperationAborted")  # besides those with a status from 500 on


@dataclass(frozen=True)
class Object:
    """What a bucket says of an object; `etag` names its content, and `media_type` is empty in lists."""

    key: str
    size_bytes: int
    etag: str
    media_type: str = ""


@dataclass(frozen=True)
class Expiry:
    """Objects that a bucket lets go of so many days after they were written: all under a prefix, or those of a tag."""

    name: str
    prefix: str
    days: int
    tag: tuple[str, str] | None = None

    def rule(self, root: str) -> Rule:
        """Return the server's rule for it, under the prefix of the bucket."""
        prefix, chosen = root + self.prefix, Filter(prefix=root + self.prefix)
        if self.tag is not None:
            tags = Tags.new_object_tags()
            tags[self.tag[0]] = self.tag[1]
            chosen = Filter(and_operator=AndOperator(prefix, tags))
        return Rule(
            ENABLED, rule_filter=chosen, rule_id=f"{_RULES}{root}{self.name}", expiration=Expiration(days=self.days)
        )


class Bucket:
    """The objects under the prefix of a bucket, for threads to share. Keys are relative to the prefix.

    Every method raises `StoreUnavailableError` when the server does not answer, after the bounded retries of the URL,
    `StoreDeniedError`, `BucketMissingError`, and those that write `kino.files.FullError`.

    Raises:
        ValueError: the URL is malformed.
        StoreDeniedError: there are no keys.
    """

    def __init__(self, url: str) -> None:
        self.url = BucketUrl.parse(url)
        self.name = f"s3://{self.url.bucket}/{self.url.prefix}"
        self.keys = ChainedProvider([EnvAWSProvider(), AWSConfigProvider()])
        try:
            self.keys.retrieve()
        except ValueError:
            raise StoreDeniedError(f"{self.name}: no keys, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        self.client = self._client(self.url.endpoint)
        self._outside = self._client(self.url.public_endpoint)

    def check(self) -> None:
        """Raise `BucketMissingError`, or what every method raises, if the bucket cannot be used."""
        with self._typed(""):
            if not self.client.bucket_exists(self.url.bucket):
                raise BucketMissingError(f"{self.name}: there is no bucket {self.url.bucket!r}")

    def stat(self, key: str) -> Object:
        """Return what is known of an object, or raise `NotFoundError`."""
        with self._typed(key):
            found = self.client.stat_object(self.url.bucket, self.url.prefix + key)
            return Object(key, found.size or 0, found.etag or "", found.content_type or "")

    def read(self, key: str) -> tuple[bytes, str]:
        """Return the content of a small object and its etag, or raise `NotFoundError`."""
        with self._typed(key):
            response = self.client.get_object(self.url.bucket, self.url.prefix + key)
            try:
                return response.read(), response.headers.get("etag", "").strip('"')
            finally:
                response.close()

    def open(self, key: str) -> BufferedRandom:
        """Return a whole object as a temporary file, or raise `NotFoundError`; a broken transfer goes on where it was.

        Raises:
            kino.files.FullError: no room is left for the temporary file.
        """
        size_bytes, failures = self.stat(key).size_bytes, 0
        with full_is_typed(Path(tempfile.gettempdir())), ExitStack() as held:
            file = held.enter_context(tempfile.TemporaryFile())
            while (before := file.tell()) < size_bytes:
                try:
                    with self._typed(key):
                        self._transfer(key, file)
                except StoreUnavailableError:
                    failures = failures + 1 if file.tell() == before else 0
                    if failures > 1:  # each of them has had its retries
                        raise
            file.seek(0)
            held.pop_all()
            return file

    def write(self, key: str, content: bytes) -> None:
        """Set a small object, whatever it was."""
        self._put(key, content, {})

    def create(self, key: str, content: bytes) -> None:
        """Set a small object that is not there yet, else raise `ConflictError`."""
        self._put(key, content, {"If-None-Match": "*"})

    def replace(self, key: str, content: bytes, etag: str) -> None:
        """Set a small object that still has this etag, else raise `ConflictError`."""
        self._put(key, content, {"If-Match": f'"{etag}"'})

    def upload(
        self, key: str, file: BinaryIO, size_bytes: int, media_type: str, tags: Mapping[str, str] | None = None
    ) -> None:
        """Set an object to what a file holds from its position on, in parts where it is large; it appears whole."""
        part = max(_PART_BYTES, -(-size_bytes // (_MAX_PARTS << 20)) << 20)
        written, name = Tags.new_object_tags(), self.url.prefix + key
        written.update(tags or {})
        with self._typed(key):
            self.client.put_object(self.url.bucket, name, file, size_bytes, media_type, part_size=part, tags=written)

    def list(self, prefix: str = "") -> Iterator[Object]:
        """Yield the objects whose keys begin with a prefix, in the order of keys."""
        start = len(self.url.prefix)
        with self._typed(prefix):
            for found in self.client.list_objects(self.url.bucket, self.url.prefix + prefix, recursive=True):
                yield Object((found.object_name or "")[start:], found.size or 0, (found.etag or "").strip('"'))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with self._typed(key):
            self.client.remove_object(self.url.bucket, self.url.prefix + key)

    def prepare(self, expiries: Sequence["Expiry"]) -> None:
        """Make the bucket where it is missing, and let the server expire objects by these rules; others' rules stay."""
        name = self.url.bucket
        with self._typed(""):
            if not self.client.bucket_exists(name):
                self.client.make_bucket(name, self.url.region)
            before = self.client.get_bucket_lifecycle(name)
            own = f"{_RULES}{self.url.prefix}"
            others = [rule for rule in before.rules if not (rule.rule_id or "").startswith(own)] if before else []
            if rules := [*others, *(expiry.rule(self.url.prefix) for expiry in expiries)]:
                self.client.set_bucket_lifecycle(name, LifecycleConfig(rules))
            elif before:
                self.client.delete_bucket_lifecycle(name)

    def link(self, key: str, seconds: int) -> str:
        """Return a URL by which anyone may read an object for so long, at most a week; it is not asked for first."""
        if not 1 <= seconds <= 7 * 24 * 3600:
            raise ValueError(f"seconds is {seconds}, must be from 1 to 604800")
        return self._outside.presigned_get_object(
            self.url.bucket, self.url.prefix + key, expires=timedelta(seconds=seconds)
        )

    def _client(self, endpoint: str) -> "_Client":
        parts = urlsplit(endpoint)
        retries = urllib3.Retry(
            self.url.retries, backoff_factor=0.25, backoff_max=8, status_forcelist=_AILING, raise_on_status=False
        )
        http = urllib3.PoolManager(
            maxsize=16,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=self.url.timeout_seconds),
            retries=retries,
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        secure = parts.scheme == "https"
        return _Client(parts.netloc, credentials=self.keys, secure=secure, region=self.url.region, http_client=http)

    def _transfer(self, key: str, file: BinaryIO) -> None:
        """Add to a file what an object holds from there on."""
        response = self.client.get_object(self.url.bucket, self.url.prefix + key, offset=file.tell())
        try:
            for chunk in response.stream(_READ_BYTES):
                file.write(chunk)
        finally:
            response.close()

    def _put(self, key: str, content: bytes, condition: dict[str, str]) -> None:
        """Set a small object under a condition.

        A request whose answer was lost is repeated, and then meets what it wrote itself: it knows it by its mark.
        """
        mark, name = uuid.uuid4().hex, self.url.prefix + key
        with self._typed(key):
            try:
                self.client.put(self.url.bucket, name, content, {**condition, _WRITE_MARK: mark})
            except S3Error as error:
                if error.code not in _CONFLICTS:
                    raise
                found = self.client.stat_object(self.url.bucket, name).metadata or {}
                if found.get(_WRITE_MARK.lower()) != mark:
                    raise

    @contextmanager
    def _typed(self, key: str) -> Iterator[None]:
        """Turn what the client and the server say into the errors of a store."""
        place = self.name + key
        try:
            yield
        except S3Error as error:
            raise _error(place, error) from error
        except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError) as error:
            raise StoreUnavailableError(f"{place}: {self.url.endpoint} does not answer: {_reason(error)}") from error


class _Client(Minio):
    """The library's client, and the conditional writes that it does not offer."""

    def put(self, bucket: str, key: str, content: bytes, headers: dict[str, str]) -> None:
        """Set an object by one request with these headers."""
        self._put_object(bucket, key, content, {"Content-Type": "application/octet-stream", **headers})


def _error(place: str, error: S3Error) -> Exception:
    """Return the store's error for what the server answers."""
    said = f"{place}: {error.message or error.code}"
    if error.code in _MISSING:
        return NotFoundError(f"{place} does not exist")
    if error.code == "NoSuchBucket":
        return BucketMissingError(f"{place}: there is no such bucket")
    if error.code in _DENIED:
        return StoreDeniedError(f"{place}: the server refuses these keys: {error.code}")
    if error.code in _CONFLICTS:
        return ConflictError(f"{place} was changed by another writer")
    if error.code in _FULL or "no space left" in (error.message or ""):
        return FullError(errno.ENOSPC, f"no room left: {error.message}", place)
    away = error.response.status >= 500 or error.code in _AWAY
    return StoreUnavailableError(said) if away else StoreError(said)


def _reason(error: Exception) -> str:
    """Return the innermost reason of a failed request, without its address, which the message has."""
    while (inner := getattr(error, "reason", None)) is not None and isinstance(inner, Exception):
        error = inner
    return str(error).rpartition(": ")[2] or type(error).__name__
