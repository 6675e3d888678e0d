"""What training and measuring read from addresses is what they read from this disk."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import _registry
from torch.utils.data import Dataset
from typer.testing import CliRunner

from seedcli import storage
from seedcli.benchmarks.retrieval_sets import load_retrieval_set
from seedcli.benchmarks.vqa_sets import load_question_set
from seedcli.cli.main import app
from seedcli.data.images.captioned import read_pictures
from seedcli.data.mixtures.documents import open_source
from seedcli.data.mixtures.pairs import TablePairs, TarPairs
from seedcli.data.tokens.shards import TokenRow, write_shard
from seedcli.errors import DataError, UsageError
from seedcli.recipe.language import DocumentSourceSection
from seedcli.recipe.pictures import PicturesSection
from seedcli.storage import as_place
from seedcli.training.readers import read_ahead
from tests.set_files import cells, png, tar, write_file
from tests.tiny_shards import tiny_header

HEADER = tiny_header()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a source of every kind."""
    import pyarrow as pa

    folder = tmp_path / "data"
    rows = [TokenRow(f"k{n}", [n, 1, 2, 3], f"text {n}", "s", None) for n in range(5)]
    (folder / "tokens").mkdir(parents=True)
    write_shard(folder / "tokens" / "a.parquet", HEADER, rows)
    pairs = {f"{n:03d}.png": png(f"{n}") for n in range(3)}
    words = {f"{n:03d}.txt": f"words {n}".encode() for n in range(3)}
    write_file(folder / "pairs.tar", tar(**dict(sorted({**pairs, **words}.items()))))
    codes = {f"{n}.json": json.dumps({"codes": [n] * 4, "text": "x"}).encode() for n in range(2)}
    write_file(folder / "codes.tar", tar(**codes))
    said = [{"role": "user", "content": "See <image>"}, {"role": "assistant", "content": "Yes."}]
    lines = [{"messages": said, "images": [f"images/{n}.png"]} for n in range(2)]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for name in ("0", "1"):
        write_file(folder / "images" / f"{name}.png", png(name))
        write_file(folder / "images" / f"{name}.txt", f"picture {name}".encode())
    table = pa.table({"image": cells("a.png", "b.png"), "text": ["one", "two"]})
    write_file(folder / "table.parquet", table)
    captions = {
        "images": [
            {"filename": f"{n}.png", "split": "test", "sentences": [{"raw": f"picture {n}"}]}
            for n in range(2)
        ]
    }
    write_file(folder / "flickr30k" / "dataset_flickr30k.json", captions)
    for name in ("0", "1"):
        write_file(folder / "flickr30k" / "flickr30k-images" / f"{name}.png", png(name))
    asked = [{"image": "images/0.png", "question": "why?", "answer": "so"}]
    (folder / "asked.jsonl").write_text(json.dumps(asked[0]))
    return folder


class Rows(Dataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __getitem__(self, row):
        return self.pairs.read(row, random.Random(0))


def everything(place: str, cache: Path) -> list:
    """What every reader gives of the sources below a place."""
    rng = random.Random(0)

    def codes_of(pictures):
        assert all(str(one).startswith(place) for one in pictures)
        return [(int(Path(str(one)).stem), 0, 0, 0) for one in pictures]

    def documents(**fields):
        section = DocumentSourceSection(**{"weight": 1.0, "max_tokens": 64} | fields)
        how = {"num_queries": 4, "num_codes": 64, "fingerprint": "f" * 16}
        source = open_source(section, codes_of=codes_of, cache=cache, **how)
        read = (source.read(row, random.Random(0)) for row in range(len(source)))
        return [(one.segments, one.messages) for one in read]

    caption = {"form": "caption", "image_first": 1.0, "mask_first": False}
    found = [
        documents(kind="tokens", path=f"{place}/tokens", **caption),
        documents(
            kind="tar",
            path=f"{place}/{{codes..codes}}.tar".replace("{codes..codes}", "codes"),
            **caption,
        ),
        documents(kind="table", path=f"{place}/own.jsonl", form="messages"),
    ]
    for source in (
        TarPairs(f"{place}/pairs.tar", caption_key="txt", cache=cache),
        TablePairs(
            f"{place}/table.parquet", split="train", image_column="image", caption_column="text"
        ),
    ):
        found.append([source.read(row, rng) for row in range(len(source))])
    pictures = read_pictures(PicturesSection(path=f"{place}/images"))
    found.append([(one.captions, storage.open_to_read(one.image).read()) for one in pictures])
    held = load_retrieval_set("flickr30k", data_root=as_place(place), allow_split=True)
    found.append((held.captions, [storage.open_to_read(one.read()).read() for one in held.images]))
    (question,) = load_question_set(f"{place}/asked.jsonl").questions.values()
    found.append((question.row, storage.open_to_read(question.pictures[0].read()).read()))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # aiobotocore's sessions, when they are collected
def test_a_bucket_gives_what_the_disk_gives(bucket, here, tmp_path, monkeypatch):
    fsspec.filesystem("s3").put(str(here), "bucket/data", recursive=True)
    there = everything(f"{bucket}/data", tmp_path / "one")
    assert there == everything(str(here), tmp_path / "two")
    assert there[2][1][1][0].segments == ("See ", (1, 0, 0, 0))
    # a worker of the loader is a process of its own, with a client of its own
    rows = Rows(TarPairs(f"{bucket}/data/pairs.tar", caption_key="txt", cache=tmp_path / "one"))
    assert list(read_ahead(rows, workers=1, pin_memory=False, steps=range(3))) == there[3]
    with pytest.raises(DataError, match="no such file"):
        TarPairs(f"{bucket}/none.tar", caption_key="txt", cache=tmp_path / "one")
    with pytest.raises(DataError, match="no file at s3://"):
        load_question_set(f"{bucket}/none.jsonl")
    # the option keeps the address, and an error says who may not look
    said = ["eval", "retrieval", "--dataset", "flickr30k", "--data-root", f"{bucket}/none"]
    told = CliRunner().invoke(app, said)
    assert told.exit_code == 3
    assert f"{bucket}/none/flickr30k/dataset_flickr30k.json: no such file" in told.stderr
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    type(fsspec.filesystem("s3")).clear_instance_cache()
    told = CliRunner().invoke(app, said)
    assert told.exit_code == 3
    assert "access is refused" in told.stderr and "AWS_PROFILE" in told.stderr


def test_an_object_that_has_changed_is_read_anew(here, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/changing/pairs.tar", (here / "pairs.tar").read_bytes())
    first = TarPairs("memory://changing/pairs.tar", caption_key="txt", cache=tmp_path)
    assert len(first) == 3
    memory.pipe("/changing/pairs.tar", tar(**{"a.png": png("a"), "a.txt": b"a"}))
    assert len(TarPairs("memory://changing/pairs.tar", caption_key="txt", cache=tmp_path)) == 1


@pytest.mark.parametrize(
    ("address", "package", "remedy"),
    [
        ("gs://bucket/a.tar", "gcsfs", "pip install gcsfs"),
        ("az://bucket/a.tar", "adlfs", "pip install adlfs"),
    ],
)
def test_a_client_that_is_not_installed_is_named_with_its_package(
    monkeypatch, address, package, remedy
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, address.partition(":")[0], raising=False)
    with pytest.raises(UsageError, match=package) as refused:
        TarPairs(address, caption_key="txt")
    assert refused.value.remedy == remedy
