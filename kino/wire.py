"""Tensors and media between messages and memory. Everything a message says is checked before it is believed."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kino.errors import InvalidArgumentError
from kino.remote import NOTHING_REMOTE, Remote, is_url
from kino.store import Store
from kino.v1.media_pb2 import Media
from kino.v1.tensor_pb2 import (
    DELIVERY_INLINE,
    DELIVERY_STORE,
    DTYPE_BFLOAT16,
    DTYPE_FLOAT16,
    DTYPE_FLOAT32,
    DTYPE_INT64,
    DTYPE_UINT8,
    Delivery,
    Dtype,
    Tensor,
)

INLINE_BYTES = 16 << 20
MAX_TENSOR_BYTES = 1 << 30
FLOATS = (DTYPE_FLOAT32, DTYPE_FLOAT16, DTYPE_BFLOAT16)

_NUMPY: dict[Dtype.ValueType, np.dtype[Any]] = {
    DTYPE_FLOAT32: np.dtype("<f4"),
    DTYPE_FLOAT16: np.dtype("<f2"),
    DTYPE_BFLOAT16: np.dtype("<u2"),  # NumPy has no bfloat16: its bits, the upper half of a binary32
    DTYPE_UINT8: np.dtype("u1"),
    DTYPE_INT64: np.dtype("<i8"),
}


def decode(
    tensor: Tensor, field: str, axes: str, *, dtypes: Sequence[Dtype.ValueType] = FLOATS, store: Store | None = None
) -> NDArray[Any]:
    """Return the elements of a tensor as a new array; every float type becomes float32, which loses nothing.

    Args:
        field: name of the tensor in the request, for messages.
        axes: letters for lengths that may be anything, numbers for those that may not, for example "t h w 3".
        dtypes: the element types that are welcome.
        store: where a uri is looked up; None refuses one.

    Raises:
        InvalidArgumentError: dtype, rank, a length, the byte count or the uri is wrong, or an element is not finite.
        kino.store.StoreError: the artifact is missing or damaged.
    """
    if tensor.dtype not in dtypes:
        raise InvalidArgumentError(f"{field}.dtype", _name(tensor.dtype), f"one of {', '.join(map(_name, dtypes))}")
    shape = _checked_shape(tensor, field, axes)
    stored = _NUMPY[tensor.dtype]
    num_bytes = math.prod(shape) * stored.itemsize
    if num_bytes > MAX_TENSOR_BYTES:
        raise InvalidArgumentError(f"{field}.shape", list(shape), f"at most {MAX_TENSOR_BYTES} bytes in all")
    array = np.frombuffer(_content(tensor, field, num_bytes, store), stored).reshape(shape)
    if tensor.dtype == DTYPE_BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif tensor.dtype in FLOATS:
        array = array.astype(np.float32)
    else:
        array = array.copy()
    if tensor.dtype in FLOATS and not np.isfinite(array).all():
        index = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InvalidArgumentError(f"{field}{index}", float(array[tuple(index)]), "finite")
    return array


def encode(
    array: NDArray[Any],
    *,
    dtype: Dtype.ValueType | None = None,
    delivery: Delivery.ValueType = DELIVERY_INLINE,
    store: Store | None = None,
) -> Tensor:
    """Return an array as a tensor, by uri where the delivery or its size (over 16 MiB) asks for that.

    Args:
        array: float32, float16, uint8 or int64, of any rank and memory layout.
        dtype: element type on the wire, None for the array's own; bfloat16 rounds to nearest, ties to even.

    Raises:
        InvalidArgumentError: delivery by uri is asked for, or needed, where there is no store.
    """
    if dtype is None:
        dtype = next(known for known, numpy in _NUMPY.items() if numpy == array.dtype and known != DTYPE_BFLOAT16)
    raw = _bfloat16_bits(array) if dtype == DTYPE_BFLOAT16 else array.astype(_NUMPY[dtype], copy=False)
    tensor = Tensor(dtype=dtype, shape=array.shape)
    if delivery == DELIVERY_STORE or raw.nbytes > INLINE_BYTES:
        tensor.uri = _reachable(store, raw.nbytes).put(raw.tobytes(), "application/octet-stream").uri
    else:
        tensor.data = raw.tobytes()
    return tensor


def open_media(
    media: Media, field: str, kinds: Sequence[str], *, store: Store | None = None, remote: Remote = NOTHING_REMOTE
) -> BinaryIO:
    """Return the file of a medium as a seekable stream, verified if it comes from the store.

    Args:
        field: name of the medium in the request, for messages.
        kinds: welcome top-level media types, for example ("video", "image").
        store: where a uri is looked up; None refuses one.
        remote: what fetches a uri that is an http or https URL.

    Raises:
        InvalidArgumentError: the media type is not welcome, the content is not set or empty, the uri is malformed, or
            a URL that may not be fetched.
        UnavailableError, DeadlineExceededError: a URL cannot be fetched now.
        kino.store.StoreError: the artifact is missing or damaged.
    """
    if media.media_type.partition("/")[0] not in kinds:
        raise InvalidArgumentError(f"{field}.media_type", media.media_type, f"of the kind {' or '.join(kinds)}")
    if media.WhichOneof("content") == "uri" and is_url(media.uri):
        return remote.open(media.uri, f"{field}.uri")
    if media.WhichOneof("content") == "uri":
        return _checked_store(store, media.uri, field).open(media.uri)
    if not media.data:
        raise InvalidArgumentError(f"{field}.content", "", "data or a uri")
    return io.BytesIO(media.data)


def make_media(
    source: bytes | Path, media_type: str, *, delivery: Delivery.ValueType = DELIVERY_INLINE, store: Store | None = None
) -> Media:
    """Return a file as a medium, by uri where the delivery or its size (over 16 MiB) asks for that.

    Raises:
        InvalidArgumentError: delivery by uri is asked for, or needed, where there is no store.
    """
    num_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
    if delivery == DELIVERY_STORE or num_bytes > INLINE_BYTES:
        return Media(media_type=media_type, uri=_reachable(store, num_bytes).put(source, media_type).uri)
    return Media(media_type=media_type, data=source if isinstance(source, bytes) else source.read_bytes())


def _checked_shape(tensor: Tensor, field: str, axes: str) -> tuple[int, ...]:
    shape, names = tuple(tensor.shape), axes.split()
    fits = len(shape) == len(names) and all(
        length >= 0 and (not name.isdigit() or length == int(name)) for length, name in zip(shape, names, strict=True)
    )
    if not fits:
        raise InvalidArgumentError(f"{field}.shape", list(shape), f"[{' '.join(names)}]")
    return shape


def _content(tensor: Tensor, field: str, num_bytes: int, store: Store | None) -> bytes:
    wanted = f"{num_bytes} bytes long: {_name(tensor.dtype)} of shape {list(tensor.shape)}"
    match tensor.WhichOneof("content"):
        case "data":
            if len(tensor.data) != num_bytes:
                raise InvalidArgumentError(f"{field}.data", len(tensor.data), wanted)
            return tensor.data
        case "uri":
            source = _checked_store(store, tensor.uri, field)
            if (found := source.stat(tensor.uri).size_bytes) != num_bytes:
                raise InvalidArgumentError(f"{field}.uri", found, wanted)
            return source.get(tensor.uri)
        case None:
            raise InvalidArgumentError(f"{field}.content", "", "data or a uri")


def _checked_store(store: Store | None, uri: str, field: str) -> Store:
    if store is None:
        raise InvalidArgumentError(f"{field}.uri", uri, "data: there is no store to look it up in")
    return store


def _reachable(store: Store | None, num_bytes: int) -> Store:
    if store is None:
        raise InvalidArgumentError("delivery", num_bytes, f"inline and at most {INLINE_BYTES} bytes without a store")
    return store


def _bfloat16_bits(array: NDArray[Any]) -> NDArray[np.uint16]:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x40  # rounding could carry a NaN's bits over to infinity
    return np.where(np.isnan(bits.view(np.float32)), quiet_nan, rounded).astype("<u2")


def _name(dtype: Dtype.ValueType) -> str:
    known = {value: name.removeprefix("DTYPE_").lower() for name, value in Dtype.items()}
    return known.get(dtype, f"unknown dtype {dtype}")
