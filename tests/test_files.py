"""Files appear whole or not at all, and a full disk is told by name, whichever library wrote."""

from __future__ import annotations

import collections
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from seedcli.data.images.images import save_image
from seedcli.data.tables import save_array
from seedcli.data.tokens.outcomes import Outcome, ShardJournal, read_journal
from seedcli.data.tokens.shards import ShardHeader, TokenRow, write_shard
from seedcli.engine.hold import hold
from seedcli.errors import DataError, NoSpaceError, NumericalError
from seedcli.files import json_text, parse_json, publish_json, publish_text, published, read_json
from seedcli.storage import own_partial, publish_first

HALF = "\udce9"  # what a file name that is no UTF-8 holds in Python


@contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """No file may be larger: the nearest to a full disk that needs no rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _tensors(path: Path) -> None:
    with published(path) as partial:
        save_file({"a": torch.zeros(1 << 16)}, partial)


def _moments(path: Path) -> None:
    with published(path) as partial, open(partial, "wb") as file:
        torch.save({"a": torch.zeros(1 << 16)}, file)


def _folder(path: Path) -> None:
    with published(path) as partial:
        partial.mkdir()
        (partial / "small").write_text("fits")
        save_file({"a": torch.zeros(1 << 16)}, partial / "large.safetensors")


def _shard(path: Path) -> None:
    rng = np.random.default_rng(0)
    header = ShardHeader(
        tokenizer="t",
        fingerprint="f",
        num_queries=32,
        num_codes=8192,
        image_handling="seed",
        numerics="default",
        dtype="float32",
        micro_batch=(1, 3, 8, 8),
    )
    codes = rng.integers(0, 8192, size=(5000, 32))
    write_shard(
        path, header, [TokenRow(str(n), row, None, "", None) for n, row in enumerate(codes)]
    )


def _picture(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(300, 300, 3), dtype=np.uint8)
    save_image(Image.fromarray(noise), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "text.txt": lambda path: publish_text(path, "x" * 100_000),
    "array.npy": lambda path: save_array(path, np.zeros(1 << 16)),
    "weights.safetensors": _tensors,
    "moments.pt": _moments,
    "folder": _folder,
    "shard.parquet": _shard,
    "picture.png": _picture,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_and_nothing_half_written_stays(name: str, tmp_path: Path) -> None:
    with disk_of(1 << 15), pytest.raises(NoSpaceError) as caught:
        WRITERS[name](tmp_path / name)
    # the disk itself has room
    said = f"no space left in {tmp_path}: {name} met a quota or a limit on the size of a file"
    assert str(caught.value) == said
    assert "--resume" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []
    WRITERS[name](tmp_path / name)  # there is room now
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_journal_on_a_full_disk_goes_on_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    one = Outcome("key", "source" * 50, [1, 2], None, None, None)
    journal = ShardJournal(path)
    with disk_of(2000), pytest.raises(NoSpaceError):
        collections.deque(map(journal.add, [[one]] * 20))
    kept = journal.num_batches
    journal.close()
    again = ShardJournal(path)
    assert 0 < again.num_batches == kept
    again.add([one])
    again.close()
    assert list(read_journal(path)) == [one] * (kept + 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, GeneratorExit])
def test_what_was_there_stays_after_any_exception(error: type, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def write() -> None:
        with published(path) as partial:
            partial.write_text("half of")
            raise error

    with pytest.raises(error):
        write()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "before")]


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "old").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "older").write_text("")
    with published(tmp_path / "model") as partial:
        partial.mkdir()
        (partial / "new").write_text("")
    found = sorted(each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*"))
    assert found == ["model", "model/new"]


def test_json_of_names_that_are_no_utf8() -> None:
    for value in ({"name": f"caf{HALF}"}, ["é", "\ud83d"], {"name": "é"}):
        assert parse_json(json_text(value).encode()) == value
    assert json_text("é") == '"é"'  # all others stay readable


def test_json_without_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NumericalError, match=r"a\.json"):
        publish_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1' + "0" * 5000 + "}", "no readable JSON"),
        ("{", "no readable JSON"),
        (b"\xff\xfe{", "no readable JSON"),
        ("[1]", "expected a JSON object, found list"),
        ("", "no readable JSON"),
    ],
)
def test_a_json_file_that_is_none(content: str | bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=found):
        read_json(path)
    with pytest.raises(DataError, match="No such file"):
        read_json(tmp_path / "b.json")


def test_the_first_of_several_writers_leaves_nothing_on_a_full_disk(tmp_path: Path) -> None:
    with disk_of(1 << 10), pytest.raises(OSError):
        publish_first(tmp_path / "a.json", b"x" * 5000)
    assert list(tmp_path.iterdir()) == []
    assert publish_first(tmp_path / "a.json", b"1") and not publish_first(tmp_path / "a.json", b"2")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1"]


def test_what_killed_processes_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    own, parent = own_partial(tmp_path / "a.json"), os.getppid()
    left = own.with_name(own.name.replace(f"-{os.getpid()}.", f"-{ended.pid}."))
    beside = own.with_name(left.name.replace("a.json", "b.npz"))
    living = own.with_name(own.name.replace(f"-{os.getpid()}.", f"-{parent}."))
    elsewhere = own.with_name(left.name.replace(".by-", ".by-other-"))
    for path in (left, beside, living, elsewhere):
        path.write_text("half")
    assert publish_first(tmp_path / "a.json", b"1")
    assert set(tmp_path.iterdir()) == {tmp_path / "a.json", living, elsewhere}
    left.write_text("half")
    with hold(tmp_path):
        assert not left.exists()
    left.write_text("half")
    save_array(tmp_path / "b.npy", np.zeros(1))
    assert not left.exists()
    assert {living, elsewhere} < set(tmp_path.iterdir())


def test_arrow_tells_of_its_disk(tmp_path: Path) -> None:
    """The number of the system's error reaches Python through pyarrow."""
    with disk_of(1 << 10), pytest.raises(NoSpaceError), published(tmp_path / "a") as partial:
        with pa.OSFile(str(partial), "wb") as file:
            file.write(b"x" * 5000)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        with pytest.raises(NoSpaceError, match=r"a\.safetensors needs more than 0\.\d MB"):
            _tensors(tmp_path / "a.safetensors")
        assert list(tmp_path.iterdir()) == []
        publish_text(tmp_path / "b.txt", "x" * 100_000)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
