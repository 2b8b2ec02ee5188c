import threading

import pytest

from kino.records import ConflictError, FolderRecords, Records
from kino.store import open_store


@pytest.fixture(params=["folder", "bucket"])
def records(request: pytest.FixtureRequest) -> Records:
    """The same promises are kept by both."""
    if request.param == "folder":
        return FolderRecords(request.getfixturevalue("tmp_path") / "records")
    return open_store(request.getfixturevalue("bucket_url")).records


def test_a_record_holds_the_last_value_written(records: Records) -> None:
    assert records.read("stages/a") is None
    records.write("stages/a", b"1")
    records.write("stages/a", b"2")
    assert records.read("stages/a") == b"2"
    records.delete("stages/a")
    records.delete("stages/a")
    assert records.read("stages/a") is None


def test_list_gives_the_names_under_a_prefix(records: Records) -> None:
    assert list(records.list()) == []
    for name in ("stages/b", "stages/a", "aliases/latest"):
        records.write(name, b"")
    assert list(records.list()) == ["aliases/latest", "stages/a", "stages/b"]
    assert list(records.list("stages/")) == ["stages/a", "stages/b"]
    assert records.read("stages") is None
    assert records.read("stages/a/deeper") is None


def test_swap_sets_only_over_what_was_expected(records: Records) -> None:
    records.swap("latest", None, b"1")
    records.swap("latest", b"1", b"2")
    with pytest.raises(ConflictError, match="record latest: holds b'2', the writer expected b'1'"):
        records.swap("latest", b"1", b"3")
    with pytest.raises(ConflictError, match="holds b'2', the writer expected None"):
        records.swap("latest", None, b"3")
    assert records.read("latest") == b"2"


def test_swaps_of_many_threads_lose_no_increment(records: Records) -> None:
    records.write("count", b"0")

    def count() -> None:
        done = 0
        while done < 25:
            value = records.read("count") or b""
            try:
                records.swap("count", value, str(int(value) + 1).encode())
            except ConflictError:
                continue
            done += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records.read("count") == b"100"


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/../../x", "/etc/passwd", "a//b", ".hidden", "a/", "a b", "a\n", "a" * 200]
)
def test_no_name_leaves_the_folder(records: Records, name: str) -> None:
    with pytest.raises(ValueError, match=r"name is .*, must be"):
        records.read(name)
    with pytest.raises(ValueError, match=r"name is .*, must be"):
        records.write(name, b"")
    with pytest.raises(ValueError, match=r"name is .*, must be"):
        records.swap(name, None, b"")
    with pytest.raises(ValueError, match=r"name is .*, must be"):
        records.delete(name)


def test_a_record_is_small(records: Records) -> None:
    records.write("full", bytes(1 << 20))
    with pytest.raises(ValueError, match="value is 1048577 bytes, must be at most 1048576"):
        records.write("full", bytes((1 << 20) + 1))
    assert records.read("full") == bytes(1 << 20)
