"""The errors of a call: one class per gRPC code, the same on both sides of the wire.

A servicer raises them (or `ValueError`, or what the store raises) and `to_status` writes a google.rpc.Status; a client
gets the same class back from `from_rpc_error`. No message ever holds a traceback.
"""

import asyncio
import re
from typing import Any, ClassVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from kino.exhaustion import is_out_of_memory
from kino.files import FullError
from kino.records import ConflictError
from kino.store import BucketMissingError, DamagedError, StoreDeniedError, StoreError, StoreUnavailableError
from kino.store import NotFoundError as NotInStoreError

STORE_ERRORS = (StoreError, ConflictError, FullError, ValueError)
"""What stores and registries raise; `as_kino_error` turns it into the error of a call."""
_DOMAIN = "kino"
_MAX_TEXT = 500  # of a message: a status travels in a header, and headers end at 8 KiB
_MAX_VALUE = 120  # of a value quoted in a message
_NOBODY = re.compile(
    r".*last error: .*?ipv[46]:(?P<address>\S+): (?:Failed to connect to remote host: )?(?:connect: )?(?P<refused>.+)"
    r"|.*errors resolving (?P<name>.+?): .*: (?P<unknown>[^:\]]+)\]?",
    re.DOTALL,
)  # how gRPC says that no connection came about
_A_PROXY = re.compile(r"Received http2 header with status: (\d+)")  # and that it was answered with no status of its own
_FIELD_VALUE_BOUND = re.compile(
    r"([\w.\[\]]+) is (.+), must be (.+)", re.DOTALL
)  # how the library words a `ValueError`


class KinoError(Exception):
    """A call ended without its result: `code` is the gRPC code, `request_id` names the call in every service's log."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, *, request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id


class InvalidArgumentError(KinoError, ValueError):
    """A field holds what it may not: `field` names it, `value` quotes what it held, `bound` says what it may hold.

    Args:
        message: the whole sentence where the usual one does not do; a `value` that is text is then quoted already.
    """

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, value: object, bound: str, *, message: str = "", request_id: str = "") -> None:
        self.field, self.bound = field, bound
        self.value = value if message and isinstance(value, str) else shorten(value)
        super().__init__(message or f"{field} is {self.value}, must be {bound}", request_id=request_id)


class NotFoundError(KinoError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(KinoError):
    """The name is taken by something else."""

    code = grpc.StatusCode.ALREADY_EXISTS


class AbortedError(KinoError):
    """Somebody else changed the same thing at the same time; read it again and decide anew."""

    code = grpc.StatusCode.ABORTED


class FailedPreconditionError(KinoError):
    """The request is sound, but what it meets does not fit it: another state, another latent space."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhaustedError(KinoError):
    """No room, or too much at once: `retry_after_seconds` is when to try again, None where it would fail again."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, request_id: str = "") -> None:
        super().__init__(message, request_id=request_id)
        self.retry_after_seconds = retry_after_seconds


class DataLossError(KinoError):
    """Something stored is damaged."""

    code = grpc.StatusCode.DATA_LOSS


class DeadlineExceededError(KinoError):
    """The time allowed for the call is over."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CallCancelledError(KinoError):
    """The call was cancelled, by the caller or because the server is going away."""

    code = grpc.StatusCode.CANCELLED


class UnavailableError(KinoError):
    """The service cannot be reached or is not ready; the same call may succeed later."""

    code = grpc.StatusCode.UNAVAILABLE


class UnimplementedError(KinoError):
    """The address serves no such method."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(KinoError):
    """A mistake of the service; its log has the cause under the request id."""

    code = grpc.StatusCode.INTERNAL


_BY_CODE: dict[int, type[KinoError]] = {
    kind.code.value[0]: kind
    for kind in (
        NotFoundError,
        AlreadyExistsError,
        AbortedError,
        FailedPreconditionError,
        DataLossError,
        DeadlineExceededError,
        CallCancelledError,
        UnavailableError,
        UnimplementedError,
        InternalError,
    )
}


def shorten(value: object) -> str:
    """Return a value as a message quotes it: `repr`, cut where it is long."""
    text = repr(value[: _MAX_VALUE + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."


def as_kino_error(error: BaseException) -> KinoError:
    """Return what the wire shows for any exception of a servicer; an unforeseen one becomes `InternalError`."""
    match error:
        case KinoError():
            return error
        case grpc.RpcError():
            return from_rpc_error(error)
        case ValueError():
            return _from_value_error(error)
        case NotInStoreError():
            return NotFoundError(str(error))
        case DamagedError():
            return DataLossError(str(error))
        case StoreUnavailableError():
            return UnavailableError(str(error))
        case StoreDeniedError() | BucketMissingError():
            return FailedPreconditionError(str(error))
        case ConflictError():
            return AbortedError(str(error))
        case FullError():
            return ResourceExhaustedError(f"the store has no room left: {error.strerror}")
        case asyncio.CancelledError():
            return CallCancelledError("the call was cancelled")
        case TimeoutError():
            return DeadlineExceededError("the time allowed for the call is over")
    if is_out_of_memory(error):
        figures = f" ({error})" if type(error) is MemoryError and error.args else ""  # torch's own tell of its insides
        return ResourceExhaustedError(f"too big for the memory of the device{figures}: ask for fewer or smaller frames")
    return InternalError("internal error: the log of the service has the cause under this request id")


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """Return an exception as a google.rpc.Status with ErrorInfo and, where they apply, BadRequest and RetryInfo."""
    known = as_kino_error(error)
    info = error_details_pb2.ErrorInfo(reason=known.code.name, domain=_DOMAIN)
    info.metadata["request_id"] = known.request_id or request_id
    details: list[Message] = [info]
    if isinstance(known, InvalidArgumentError):
        info.metadata["value"], info.metadata["bound"] = known.value[:_MAX_TEXT], known.bound[:_MAX_TEXT]
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=known.field, description=known.message[:_MAX_TEXT]
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(known, ResourceExhaustedError) and known.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(known.retry_after_seconds * 1e9))
        details.append(retry)
    status = status_pb2.Status(code=known.code.value[0], message=known.message[:_MAX_TEXT])
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_status(status: status_pb2.Status) -> KinoError:
    """Return the typed error that a google.rpc.Status stands for; a code without its own class gives `KinoError`."""
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for packed in status.details:
        for detail in (info, bad_request, retry):
            if packed.Is(detail.DESCRIPTOR):
                packed.Unpack(detail)
    request_id = info.metadata.get("request_id", "")
    if status.code == InvalidArgumentError.code.value[0]:
        field = bad_request.field_violations[0].field if bad_request.field_violations else ""
        value, bound = info.metadata.get("value", ""), info.metadata.get("bound", "")
        return InvalidArgumentError(field, value, bound, message=status.message, request_id=request_id)
    if status.code == ResourceExhaustedError.code.value[0]:
        seconds = retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
        return ResourceExhaustedError(status.message, retry_after_seconds=seconds, request_id=request_id)
    return _BY_CODE.get(status.code, KinoError)(status.message, request_id=request_id)


def from_rpc_error(error: grpc.RpcError) -> KinoError:
    """Return the typed error of a failed call; one that gRPC itself made up has no details, only code and message."""
    call: Any = error  # RpcError itself declares nothing; whatever a call raises is also a grpc.Call
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details that contradict the code, as behind a proxy that rewrote it: the code is what counts
        status = None
    return from_status(
        status or status_pb2.Status(code=call.code().value[0], message=_plain(call.details()) or call.code().name)
    )


def _plain(details: str | None) -> str:
    """Return what gRPC says of a call that reached nobody in the words of its user."""
    nobody = _NOBODY.fullmatch(details or "")
    if nobody:
        address, reason = unquote(nobody["address"] or nobody["name"]), nobody["refused"] or nobody["unknown"]
        return f"nobody answers at {address}: {reason[0].lower()}{reason[1:]}"
    proxy = _A_PROXY.fullmatch(details or "")
    if proxy:
        return f"no kino answers at this address, but HTTP status {proxy[1]}: it may be of another host"
    return details or ""


def _from_value_error(error: ValueError) -> InvalidArgumentError:
    message = str(error) or "a value is out of range"
    parts = _FIELD_VALUE_BOUND.fullmatch(message)
    field, value, bound = parts.groups() if parts else ("", "", "")
    return InvalidArgumentError(field, value, bound, message=message)
