import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from kino import errors
from kino.files import FullError
from kino.records import ConflictError
from kino.store import BucketMissingError, DamagedError, NotFoundError, StoreDeniedError, StoreUnavailableError


class OutOfMemoryError(RuntimeError):
    """Named as torch's own, which is a RuntimeError too."""


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (ValueError("bad"), "INVALID_ARGUMENT", "bad"),
        (ValueError(), "INVALID_ARGUMENT", "a value is out of range"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "INVALID_ARGUMENT", "can't decode byte 0xff"),
        (NotFoundError("x is not in the store"), "NOT_FOUND", "x is not in the store"),
        (DamagedError("x", "1 bytes", "2 bytes"), "DATA_LOSS", "x is damaged: expected 1 bytes, found 2 bytes"),
        (StoreUnavailableError("x does not answer"), "UNAVAILABLE", "x does not answer"),
        (StoreDeniedError("x refuses these keys"), "FAILED_PRECONDITION", "x refuses these keys"),
        (BucketMissingError("no such bucket"), "FAILED_PRECONDITION", "no such bucket"),
        (ConflictError("x has changed"), "ABORTED", "x has changed"),
        (FullError(28, "no space left", "folder"), "RESOURCE_EXHAUSTED", "the store has no room left: no space left"),
        (MemoryError(), "RESOURCE_EXHAUSTED", "too big for the memory of the device"),
        (OutOfMemoryError("CUDA out of memory"), "RESOURCE_EXHAUSTED", "too big for the memory of the device"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "RESOURCE_EXHAUSTED", "too big for the memory"),
        (TimeoutError(), "DEADLINE_EXCEEDED", "the time allowed for the call is over"),
        (asyncio.CancelledError(), "CANCELLED", "the call was cancelled"),
        (RuntimeError("secret"), "INTERNAL", "internal error"),
        (KeyError("secret"), "INTERNAL", "internal error"),
        (AssertionError("secret"), "INTERNAL", "internal error"),
        (errors.UnavailableError("down"), "UNAVAILABLE", "down"),
        (errors.KinoError("odd"), "UNKNOWN", "odd"),
    ],
)
def test_every_exception_has_a_code_and_a_safe_message(raised: BaseException, code: str, message: str) -> None:
    status = errors.to_status(raised, "r-1")
    assert status.code == grpc.StatusCode[code].value[0]
    assert message in status.message
    assert "secret" not in str(status)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["request_id"]) == (code, "kino", "r-1")


@pytest.mark.parametrize(
    "error",
    [errors.InvalidArgumentError("steps", 0, "from 1 to 1000"), ValueError("steps is 0, must be from 1 to 1000")],
)
def test_a_bad_argument_keeps_field_value_and_bound(error: ValueError) -> None:
    status = errors.to_status(error)
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert bad.field_violations[0].field == "steps"
    assert bad.field_violations[0].description == "steps is 0, must be from 1 to 1000"
    back = errors.from_status(status)
    assert isinstance(back, errors.InvalidArgumentError)
    assert isinstance(back, ValueError)
    assert (back.field, back.value, back.bound) == ("steps", "0", "from 1 to 1000")
    assert str(back) == "steps is 0, must be from 1 to 1000"


def test_a_retry_hint_travels() -> None:
    status = errors.to_status(errors.ResourceExhaustedError("busy", retry_after_seconds=2.5))
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay == Duration(seconds=2, nanos=500_000_000)
    back = errors.from_status(status)
    assert isinstance(back, errors.ResourceExhaustedError)
    assert back.retry_after_seconds == 2.5
    final = errors.from_status(errors.to_status(errors.ResourceExhaustedError("too big")))
    assert isinstance(final, errors.ResourceExhaustedError)
    assert final.retry_after_seconds is None


def test_every_class_survives_the_wire_and_keeps_the_first_request_id() -> None:
    for kind in (*errors._BY_CODE.values(), errors.ResourceExhaustedError):
        back = errors.from_status(errors.to_status(kind("why", request_id="first"), "second"))
        assert type(back) is kind
        assert (str(back), back.request_id) == ("why", "first")


def test_a_code_without_a_class_and_a_status_without_details() -> None:
    back = errors.from_status(status_pb2.Status(code=grpc.StatusCode.OUT_OF_RANGE.value[0], message="far"))
    assert type(back) is errors.KinoError
    assert str(back) == "far"
    bare = errors.from_status(status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="bad"))
    assert isinstance(bare, errors.InvalidArgumentError)
    assert (bare.field, str(bare)) == ("", "bad")


def test_a_long_value_is_cut_so_that_the_status_fits_a_header(tmp_path: Path) -> None:
    status = errors.to_status(errors.InvalidArgumentError("prompt", "\x00" * 100_000, "short " * 1000))
    assert len(status.SerializeToString()) < 8000
    assert status.message.startswith(r"prompt is '\x00\x00")


def test_a_proxy_that_answers_in_kinos_place_is_told_of() -> None:
    nothing = grpc.aio.Metadata()
    details = "Received http2 header with status: 404"
    error = errors.from_rpc_error(
        grpc.aio.AioRpcError(grpc.StatusCode.UNIMPLEMENTED, nothing, nothing, details=details)
    )
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert str(error) == "no kino answers at this address, but HTTP status 404: it may be of another host"
