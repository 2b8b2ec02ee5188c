from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kino import wire
from kino.errors import InvalidArgumentError
from kino.store import DamagedError, FolderStore, NotFoundError
from kino.v1.media_pb2 import Media
from kino.v1.tensor_pb2 import (
    DELIVERY_STORE,
    DTYPE_BFLOAT16,
    DTYPE_FLOAT16,
    DTYPE_FLOAT32,
    DTYPE_INT64,
    DTYPE_UINT8,
    Dtype,
    Tensor,
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def refusal(tensor: Tensor, axes: str = "n d", **options: object) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        wire.decode(tensor, "x", axes, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_bytes_are_row_major_and_little_endian() -> None:
    tensor = wire.encode(np.array([[1.0, -2.0], [0.5, 0.0]], np.float32))
    assert tensor.dtype == DTYPE_FLOAT32
    assert list(tensor.shape) == [2, 2]
    assert tensor.data.hex(" ", 4) == "0000803f 000000c0 0000003f 00000000"


@given(
    hnp.arrays(st.sampled_from([np.float32, np.float16, np.uint8, np.int64]), hnp.array_shapes(min_dims=0, max_dims=5))
)
def test_round_trip(array: np.ndarray) -> None:
    array = np.where(np.isfinite(array), array, 0).astype(array.dtype)
    axes = " ".join(str(length) for length in array.shape)
    dtypes = (*wire.FLOATS, DTYPE_UINT8, DTYPE_INT64)
    decoded = wire.decode(wire.encode(array.T.copy().T), "x", axes, dtypes=dtypes)
    assert decoded.dtype == (np.float32 if array.dtype.kind == "f" else array.dtype)
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, array)


def test_bfloat16_rounds_as_torch_does_for_every_upper_half() -> None:
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        values = (upper | lower).view(np.float32)
        values = values[np.isfinite(values)]
        expected = torch.from_numpy(values).bfloat16()
        finite = expected.isfinite().numpy()
        tensor = wire.encode(values[finite], dtype=DTYPE_BFLOAT16)
        assert tensor.data == expected[finite].view(torch.uint16).numpy().tobytes()
        np.testing.assert_array_equal(wire.decode(tensor, "x", "n"), expected[finite].float().numpy())


def test_an_empty_tensor_keeps_its_width() -> None:
    assert wire.decode(wire.encode(np.zeros((0, 7), np.float32)), "x", "n 7").shape == (0, 7)


def test_what_is_large_or_asked_for_goes_by_uri(store: FolderStore) -> None:
    large = np.arange(wire.INLINE_BYTES // 8 + 1, dtype=np.int64)
    tensor = wire.encode(large, store=store)
    assert tensor.uri.startswith("kino://sha256/")
    np.testing.assert_array_equal(wire.decode(tensor, "x", "n", dtypes=(DTYPE_INT64,), store=store), large)
    assert wire.encode(large[:3], delivery=DELIVERY_STORE, store=store).uri
    assert wire.encode(large[:3], store=store).data


def test_what_is_large_is_refused_without_a_store() -> None:
    with pytest.raises(InvalidArgumentError, match="delivery is 16777217, must be inline and at most 16777216 bytes"):
        wire.encode(np.zeros(wire.INLINE_BYTES + 1, np.uint8))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor(), "x.dtype is 'unspecified', must be one of float32, float16, bfloat16"),
        (Tensor(dtype=99), "x.dtype is 'unknown dtype 99', must be one of float32, float16, bfloat16"),  # type: ignore[arg-type]
        (
            Tensor(dtype=DTYPE_UINT8, shape=[1, 1], data=b"1"),
            "x.dtype is 'uint8', must be one of float32, float16, bfloat16",
        ),
        (Tensor(dtype=DTYPE_FLOAT32, shape=[1], data=bytes(4)), "x.shape is [1], must be [n 2]"),
        (Tensor(dtype=DTYPE_FLOAT32, shape=[1, 3], data=bytes(12)), "x.shape is [1, 3], must be [n 2]"),
        (Tensor(dtype=DTYPE_FLOAT32, shape=[-1, 2], data=b""), "x.shape is [-1, 2], must be [n 2]"),
        (
            Tensor(dtype=DTYPE_FLOAT16, shape=[3, 2], data=bytes(11)),
            "x.data is 11, must be 12 bytes long: float16 of shape [3, 2]",
        ),
        (
            Tensor(dtype=DTYPE_FLOAT32, shape=[1 << 40, 2], data=b""),
            "x.shape is [1099511627776, 2], must be at most 1073741824 bytes in all",
        ),
        (Tensor(dtype=DTYPE_FLOAT32, shape=[1, 2]), "x.content is '', must be data or a uri"),
        (
            Tensor(dtype=DTYPE_FLOAT32, shape=[1, 2], uri="kino://sha256/ab"),
            "x.uri is 'kino://sha256/ab', must be data: there is no store to look it up in",
        ),
        (wire.encode(np.array([[0, 1], [2, np.nan]], np.float32)), "x[1, 1] is nan, must be finite"),
        (wire.encode(np.array([[-np.inf, 1]], np.float32), dtype=DTYPE_BFLOAT16), "x[0, 0] is -inf, must be finite"),
        (wire.encode(np.array([[np.nan, 1]], np.float32), dtype=DTYPE_BFLOAT16), "x[0, 0] is nan, must be finite"),
    ],
)
def test_a_tensor_that_lies_is_refused(tensor: Tensor, message: str) -> None:
    assert refusal(tensor, "n 2") == message


def test_a_stored_tensor_is_checked_before_and_after_it_is_read(store: FolderStore) -> None:
    tensor = wire.encode(np.ones((2, 2), np.float32), delivery=DELIVERY_STORE, store=store)
    wrong = Tensor(dtype=DTYPE_FLOAT32, shape=[2, 3], uri=tensor.uri)
    assert refusal(wrong, store=store) == "x.uri is 16, must be 24 bytes long: float32 of shape [2, 3]"
    missing = Tensor(dtype=DTYPE_FLOAT32, shape=[2, 2], uri=f"kino://sha256/{'0' * 64}")
    with pytest.raises(NotFoundError):
        wire.decode(missing, "x", "n d", store=store)
    path = next(store.root.glob("sha256/??/*.json")).with_suffix("")
    path.write_bytes(bytes(16))
    with pytest.raises(DamagedError):
        wire.decode(tensor, "x", "n d", store=store)


def test_an_address_that_leaves_the_store_is_refused(store: FolderStore) -> None:
    tensor = Tensor(dtype=DTYPE_FLOAT32, shape=[1, 1], uri="kino://sha256/../../etc/passwd")
    with pytest.raises(ValueError, match="must be kino://sha256"):
        wire.decode(tensor, "x", "n d", store=store)


def test_every_dtype_of_the_protos_can_be_decoded() -> None:
    known = [dtype for dtype in Dtype.values() if dtype != 0]
    one = {DTYPE_FLOAT32: 4, DTYPE_FLOAT16: 2, DTYPE_BFLOAT16: 2, DTYPE_UINT8: 1, DTYPE_INT64: 8}
    for dtype in known:
        tensor = Tensor(dtype=dtype, shape=[1], data=bytes(one[dtype]))
        assert wire.decode(tensor, "x", "n", dtypes=known).tolist() == [0]


def test_media_travel_inline_or_by_uri(store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(b"frames")
    for media in (
        wire.make_media(b"frames", "video/matroska"),
        wire.make_media(path, "video/matroska"),
        wire.make_media(path, "video/matroska", delivery=DELIVERY_STORE, store=store),
    ):
        assert media.media_type == "video/matroska"
        with wire.open_media(media, "video", ("video",), store=store) as file:
            assert file.read() == b"frames"
    assert media.uri == store.put(b"frames", "video/matroska").uri


@pytest.mark.parametrize(
    ("media", "message"),
    [
        (
            Media(media_type="text/html", data=b"x"),
            "video.media_type is 'text/html', must be of the kind video or image",
        ),
        (Media(media_type="video/mp4"), "video.content is '', must be data or a uri"),
        (Media(media_type="video/mp4", data=b""), "video.content is '', must be data or a uri"),
        (
            Media(media_type="video/mp4", uri="kino://sha256/ab"),
            "video.uri is 'kino://sha256/ab', must be data: there is no store to look it up in",
        ),
    ],
)
def test_media_of_another_kind_or_without_content_are_refused(media: Media, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        wire.open_media(media, "video", ("video", "image"))
    assert str(caught.value) == message
