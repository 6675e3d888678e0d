"""`seed tokenize` from and to addresses: the real S3 client against a server on loopback, and a
file system whose reads fail in between.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath
from upath.registry import register_implementation

from seedcli import storage
from seedcli.data.images.containers import expand
from seedcli.data.images.inputs import list_inputs
from seedcli.data.tokens.shards import open_shards
from seedcli.engine.engines import EngineChoice
from seedcli.errors import DataError, UsageError
from seedcli.storage import as_place
from seedcli.workflows.tokenize.run import run
from tests.engine.pictures import ask_for, shard_bytes, write_pictures
from tests.hub_server import Hub, environment, serve


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures", 12)
    (tmp_path / "pictures" / "03.txt").write_text("three")
    return tmp_path / "pictures"


def write_tar(pictures: Path, path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for picture in sorted(pictures.glob("*")):
            tar.add(picture, picture.name)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # aiobotocore's sessions, when they are collected
def test_a_folder_and_a_tar_of_a_bucket_to_a_bucket(
    bucket, pictures, tmp_path, tiny_tokenizer_folder
):
    write_tar(pictures, tmp_path / "a.tar")
    s3 = fsspec.filesystem("s3")
    s3.put(str(pictures), "bucket/pictures", recursive=True)
    s3.put(str(tmp_path / "a.tar"), "bucket/a.tar")
    model = tiny_tokenizer_folder
    local = run(ask_for(model, inputs=("pictures", "a.tar"), output=tmp_path / "one"))
    request = ask_for(
        model,
        inputs=(f"{bucket}/pictures", f"{bucket}/{{a..a}}.tar"),
        output=as_place(f"{bucket}/tokens"),
        work=tmp_path / "work",
        workers=1,
        engine=EngineChoice(nproc=2),
    )
    summary = run(request)
    assert (summary.images, summary.shards, summary.failed) == (24, 4, 0)
    assert (summary.images, summary.shards) == (local.images, local.shards)
    here, there = (list(open_shards([place])) for place in (tmp_path / "one", f"{bucket}/tokens"))
    assert [(row.key, row.text, row.codes.tolist()) for row in there] == [
        (row.key, row.text, row.codes.tolist()) for row in here
    ]
    by_key = {row.key: row for row in there}
    assert by_key["pictures/03.png"].text == "three"
    assert by_key["pictures/00.png"].source == f"{bucket}/pictures/00.png"
    assert sorted(path.name for path in (tmp_path / "work").rglob("*")) == []
    names = [name.removeprefix("bucket/tokens/") for name in s3.find("bucket/tokens")]
    assert [name for name in names if not name.startswith(".seed/")] == sorted(
        shard_bytes(tmp_path / "one")
    )
    # a shard that is gone is computed again, and nothing else
    s3.rm("bucket/tokens/a.parquet")
    with pytest.raises(DataError, match="holds a run of seed tokenize already"):
        run(request)
    again = run(dataclasses.replace(request, resume=True, engine=EngineChoice()))
    assert (again.images, again.computed) == (24, 12)

    to_file = as_place(f"{bucket}/codes.jsonl")
    work = tmp_path / "work"
    lines = run(ask_for(model, inputs=(f"{bucket}/pictures/0*.png",), output=to_file, work=work))
    assert lines.images == 10
    assert s3.cat("bucket/codes.jsonl").count(b"\n") == 10
    with pytest.raises(DataError, match=r"no such file or folder: s3://bucket/none/\*.tar"):
        run(ask_for(model, inputs=(f"{bucket}/none/*.tar",), output=tmp_path / "x"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # aiohttp's sessions, as above
def test_the_same_of_google_cloud_storage(gs_bucket, pictures, tmp_path, tiny_tokenizer_folder):
    write_tar(pictures, tmp_path / "a.tar")
    gs = fsspec.filesystem("gs")
    gs.put(str(pictures), "bucket/pictures", recursive=True)
    gs.put_file(str(tmp_path / "a.tar"), "bucket/a.tar")
    run(ask_for(tiny_tokenizer_folder, inputs=("pictures", "a.tar"), output=tmp_path / "one"))
    request = ask_for(
        tiny_tokenizer_folder,
        inputs=(f"{gs_bucket}/pictures", f"{gs_bucket}/{{a..a}}.tar"),
        output=as_place(f"{gs_bucket}/tokens"),
        work=tmp_path / "work",
        workers=1,
    )
    assert (run(request).images, run(dataclasses.replace(request, resume=True)).computed) == (24, 0)
    here, there = (
        list(open_shards([place])) for place in (tmp_path / "one", f"{gs_bucket}/tokens")
    )
    assert [(row.key, row.text, row.codes.tolist()) for row in there] == [
        (row.key, row.text, row.codes.tolist()) for row in here
    ]


IN_A_PROCESS = """
import sys
from seedcli.cli.main import main
from seedcli.data.tables import open_table

print(len(open_table(sys.argv[1], split="train")), file=sys.stderr)
sys.argv[:2] = ["seed"]
main()
"""


@pytest.mark.slow
def test_a_data_set_of_the_hub(pictures, tmp_path, tiny_tokenizer_folder):
    """The hub's own client, in a process of its own: it reads where the hub is when it starts."""
    write_tar(pictures, tmp_path / "a.tar")
    files = [(path.name, path.read_bytes()) for path in sorted(pictures.glob("*.png"))]
    table = pa.table({"image": [{"path": name, "bytes": data} for name, data in files[:4]]})
    pq.write_table(table, tmp_path / "rows.parquet")
    model = tiny_tokenizer_folder
    run(ask_for(model, inputs=("rows.parquet", "a.tar", "pictures"), output=tmp_path / "one"))
    below = {f"pictures/{path.name}": path.read_bytes() for path in pictures.iterdir()}
    tables = {f"data/{name}": (tmp_path / name).read_bytes() for name in ("rows.parquet", "a.tar")}
    with serve(Hub(repos={"datasets/someone/emoji": tables | below})) as hub:
        home = "hf://datasets/someone/emoji"
        inputs = [f"{home}/data/*.parquet", f"{home}/data/{{a..a}}.tar", f"{home}/pictures"]
        words = [f"{home}/data/rows.parquet", "tokenize", *inputs, "-o", tmp_path / "two"]
        settings = ["--model", model, "-b", 2, "--shard-size", 5, "--device", "cpu", "--workers", 1]
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, *map(str, words + settings)],
            env=environment(hub, tmp_path / "home", PYTHONPATH=os.pathsep.join(sys.path)),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("4\n")
    here, there = (list(open_shards([tmp_path / name])) for name in ("one", "two"))
    assert len(here) == 4 + 12 + 12
    assert [(row.key, row.text, row.codes.tolist()) for row in there] == [
        (row.key, row.text, row.codes.tolist()) for row in here
    ]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_missing_credentials_say_what_to_do(bucket, monkeypatch, tiny_tokenizer_folder, tmp_path):
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match="access is refused") as raised:
        run(ask_for(tiny_tokenizer_folder, inputs=(f"{bucket}/a.tar",), output=tmp_path / "out"))
    assert "AWS_PROFILE" in raised.value.remedy


def test_nobody_at_the_address(monkeypatch, tiny_tokenizer_folder, tmp_path):
    with pytest.raises(DataError, match="no such file or folder: https"):
        run(
            ask_for(
                tiny_tokenizer_folder,
                inputs=("https://127.0.0.1:1/a.tar",),
                output=tmp_path / "out",
            )
        )
    with pytest.raises(UsageError, match="foo://"):
        as_place("foo://a/b")


class Locked(MemoryFileSystem):
    """Memory that answers as gcsfs does where access is refused."""

    protocol = "locked"

    def info(self, path, **kwargs):
        raise OSError(f"Forbidden: {path}")


class Nameless(MemoryFileSystem):
    """Memory that, as adlfs, asks who one is when it is made."""

    cachable = False

    def __init__(self, *args, **kwargs):
        raise ValueError("Must provide either a connection_string or account_name")


def test_a_refusal_is_no_missing_file_and_says_what_to_do(monkeypatch):
    fsspec.register_implementation("locked", Locked, clobber=True)
    register_implementation("locked", UPath)
    for ask in (storage.exists, storage.is_file, storage.is_folder):
        with pytest.raises(DataError, match=r"locked://a/b: access is refused \(Forbidden"):
            ask("locked://a/b")
    # `fsspec.registry` names a view of it, too
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(registry._registry, "az", Nameless)
    with pytest.raises(DataError, match="az://a/b: access is refused") as raised:
        as_place("az://a/b")
    assert "AZURE_STORAGE_CONNECTION_STRING" in raised.value.remedy


class Flaky(MemoryFileSystem):
    """Memory in which every second read fails."""

    protocol = "flaky"
    reads = 0

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("flaky://").strip("/")

    def _open(self, path, mode="rb", **kwargs):
        file = super()._open(path, mode, **kwargs)
        if mode == "rb":
            return Stumbling(file.getvalue())
        return file


class Stumbling(io.BytesIO):
    def read(self, size=-1):
        Flaky.reads += 1
        if Flaky.reads % 2 == 1:
            raise ConnectionResetError("the line went dead")
        return super().read(size)


def test_reads_that_fail_in_between_are_tried_again(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_PAUSE_S", 0.0)
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    write_tar(pictures, tmp_path / "a.tar")
    register_implementation("flaky", UPath)
    flaky = fsspec.filesystem("flaky")
    flaky.pipe_file("/data/a.tar", (tmp_path / "a.tar").read_bytes())
    items = list(expand(list_inputs(["flaky://data/a.tar"])))
    here = list(expand(list_inputs([str(tmp_path / "a.tar")])))
    assert [(item.key, item.data, item.text) for item in items] == [
        (item.key, item.data, item.text) for item in here
    ]
    assert Flaky.reads > 1
    flaky.rm("/data", recursive=True)


def test_a_list_of_addresses_of_pictures_is_img2datasets():
    addresses = ["https://example.com/a.jpg", "https://example.com/b.jpg"]
    for inputs, stdin in ((addresses, ()), (["-"], addresses)):
        with pytest.raises(UsageError, match="a list of addresses of pictures") as raised:
            list(list_inputs(inputs, stdin))
        assert "img2dataset" in raised.value.remedy
