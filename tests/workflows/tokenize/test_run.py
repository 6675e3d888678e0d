"""`seed tokenize` below the command line, with a tiny model: order, failures, second
tries, resuming, sharing.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seedcli.console import Reporter
from seedcli.data.images.images import Preprocess, open_image
from seedcli.data.tokens.shards import open_shards, read_header, read_rows
from seedcli.engine.engines import EngineChoice
from seedcli.errors import DataError, UsageError
from seedcli.models.language.vocab import parse_spans
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.workflows.tokenize.request import TokenizeRequest
from seedcli.workflows.tokenize.run import plan, run, stream


class Listening(Reporter):
    def __init__(self):
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def picture(seed: int, side: int = 24) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((side, side), Image.Resampling.BICUBIC)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(25):
        (folder / f"{number:02d}.png").write_bytes(png(number))
    (folder / "03.txt").write_text("three")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def ask(tiny_tokenizer_folder):
    """A request for the tiny model, with small passes and shards."""

    def build(*inputs: str, **options) -> TokenizeRequest:
        defaults = {
            "model": str(tiny_tokenizer_folder),
            "batch_size": 4,
            "shard_size": 10,
            "workers": 0,
        }
        return TokenizeRequest(inputs=inputs, **defaults | options)

    return build


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def expected_codes(model: Path, path: Path) -> list[int]:
    tokenizer = load_seed_model(locate(str(model)))
    pixels = Preprocess(tokenizer.config.preprocess.codes)(open_image(path))
    return tokenizer.encode(pixels[None])[0].tolist()


def test_stream_gives_codes_in_input_order(pictures, ask, tiny_tokenizer_folder):
    with stream(ask("pictures")) as codes:
        records = [codes.record(outcome) for outcome in codes.outcomes]
    assert [record["source"] for record in records] == [
        f"pictures/{number:02d}.png" for number in range(25)
    ]
    assert records[7]["codes"] == expected_codes(tiny_tokenizer_folder, pictures / "07.png")
    assert records[3]["text"] == "three"
    assert {(record["model"], record["fingerprint"]) for record in records} == {
        ("tiny", load_seed_model(locate(str(tiny_tokenizer_folder))).fingerprint)
    }
    assert len({tuple(record["codes"]) for record in records}) > 20


def test_one_picture_runs_alone_and_many_in_padded_passes(pictures, ask, encoded_shapes):
    for inputs in (["pictures/00.png"], ["pictures/00.png", "pictures/01.png"], ["pictures"]):
        with stream(ask(*inputs)) as codes:
            list(codes.outcomes)
    assert encoded_shapes == [(1, 3, 56, 56), (2, 3, 56, 56), *[(4, 3, 56, 56)] * 7]


def test_failures_are_values_and_the_others_are_done(pictures, ask):
    (pictures / "02.png").write_bytes(b"")
    (pictures / "05.png").write_bytes(b"text")
    for workers in (0, 2):
        with stream(ask("pictures", workers=workers)) as codes:
            outcomes = list(codes.outcomes)
        assert [(outcome.source, outcome.reason is None) for outcome in outcomes] == [
            (f"pictures/{number:02d}.png", number not in (2, 5)) for number in range(25)
        ]
        assert outcomes[2].codes is None


def test_limit_and_image_handling(pictures, ask):
    rgba = picture(1).convert("RGBA")
    rgba.putalpha(0)
    rgba.save(pictures / "00.png")
    found = {}
    for handling in ("seed", "official"):
        with stream(ask("pictures", limit=2, image_handling=handling)) as codes:
            found[handling] = [outcome.codes for outcome in codes.outcomes]
    assert len(found["seed"]) == 2
    assert found["seed"][0] != found["official"][0]
    assert found["official"][0] == found["official"][1]


def test_jsonl_parquet_and_token_text_hold_the_same_codes(pictures, ask):
    (pictures / "02.png").write_bytes(b"")
    reporter = Listening()
    summary = run(ask("pictures", output=Path("a.jsonl")), reporter=reporter)
    run(ask("pictures", output=Path("a.parquet")))
    run(ask("pictures", output=Path("a.txt"), output_format="tokens"))
    lines = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    assert (summary.images, summary.failed, summary.errors) == (24, 1, "a.errors.jsonl")
    assert [row.codes.tolist() for row in read_rows("a.parquet")] == [
        line["codes"] for line in lines
    ]
    assert parse_spans(Path("a.txt").read_text()) == [line["codes"] for line in lines]
    assert reporter.warnings == ["pictures/02.png: is empty (0 bytes)"]
    assert json.loads(Path("a.errors.jsonl").read_text())["source"] == "pictures/02.png"
    assert sorted(path.name for path in Path().iterdir()) == [
        "a.errors.jsonl", "a.jsonl", "a.parquet", "a.txt", "pictures",
    ]  # fmt: skip
    with stream(ask("pictures")) as codes:
        assert [
            codes.record(outcome) for outcome in codes.outcomes if outcome.reason is None
        ] == lines


@pytest.mark.parametrize("name", ["codes.jsonl", "codes.parquet"])
def test_a_file_that_exists_is_replaced_only_when_asked(pictures, ask, name):
    Path(name).write_text("mine")
    with pytest.raises(DataError, match=f"{name} exists") as refused:
        run(ask("pictures", output=Path(name)))
    assert "--overwrite" in refused.value.remedy and Path(name).read_text() == "mine"
    run(ask("pictures", output=Path(name), limit=2, overwrite=True))
    assert b"mine" not in Path(name).read_bytes()[:4]
    with pytest.raises(UsageError, match="--overwrite replaces a file"):
        run(ask("pictures", output=Path("shards"), overwrite=True))


def test_shards_say_what_made_them_and_do_not_depend_on_workers(
    pictures, ask, tiny_tokenizer_folder
):
    summary = run(ask("pictures", output=Path("one")))
    assert (summary.images, summary.failed, summary.shards) == (25, 0, 3)
    run(ask("pictures", output=Path("two"), workers=2))
    assert shard_bytes(Path("one")) == shard_bytes(Path("two"))
    header = read_header("one/images-000000.parquet")
    assert header.tokenizer == "tiny"
    assert header.fingerprint == load_seed_model(locate(str(tiny_tokenizer_folder))).fingerprint
    assert header.micro_batch == (4, 3, 56, 56)
    assert header.count == 10
    assert header.made_from["kind"] == "files"
    rows = list(open_shards(["one"]))
    assert [row.key for row in rows] == [f"pictures/{number:02d}.png" for number in range(25)]
    assert rows[3].text == "three"


def test_several_processes_give_the_same_bytes(pictures, ask):
    run(ask("pictures", output=Path("one"), shard_size=5))
    reporter = Listening()
    threads = torch.get_num_threads()
    summary = run(
        ask("pictures", output=Path("two"), shard_size=5, engine=EngineChoice(nproc=2)),
        reporter=reporter,
    )
    assert torch.get_num_threads() == threads
    assert reporter.warnings == []
    assert (summary.images, summary.shards) == (25, 5)
    assert shard_bytes(Path("one")) == shard_bytes(Path("two"))


def test_a_second_try_takes_only_what_failed(pictures, ask):
    shutil.copytree(pictures, "whole/pictures")
    for number in (2, 5, 13):
        (pictures / f"{number:02d}.png").write_bytes(b"")
    request = ask("pictures", output=Path("out"))
    assert run(request).failed == 3
    before = shard_bytes(Path("out"))
    errors = [json.loads(line) for line in Path("out/errors.jsonl").read_text().splitlines()]
    assert [(error["shard"], error["index"]) for error in errors] == [
        ("images-000000", 2),
        ("images-000000", 5),
        ("images-000001", 3),
    ]

    again = ask(output=Path("out"), retry_failed=True)
    for number in (2, 13):
        shutil.copy(f"whole/pictures/{number:02d}.png", pictures)
    summary = run(again)
    assert (summary.images, summary.failed, summary.computed) == (24, 1, 3)
    assert sorted(set(shard_bytes(Path("out"))) - set(before)) == [
        "images-000000.retry-001.parquet",
        "images-000001.retry-001.parquet",
    ]
    assert run(again).failed == 1
    assert not Path("out/images-000000.retry-002.parquet").exists()
    shutil.copy("whole/pictures/05.png", pictures)
    assert run(again).failed == 0
    assert not Path("out/errors.jsonl").exists()
    assert [row.key for row in read_rows("out/images-000000.retry-002.parquet")] == [
        "pictures/05.png"
    ]
    assert before.items() <= shard_bytes(Path("out")).items()
    assert run(again).images == 25

    run(ask("whole/pictures", output=Path("reference")))
    reference = {row.key: row.codes.tolist() for row in open_shards(["reference"])}
    assert {row.key: row.codes.tolist() for row in open_shards(["out"])} == reference


def write_tar(path: Path, count: int) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            for name, data in (
                (f"{number:04d}.png", png(number)),
                (f"{number:04d}.txt", f"no {number}".encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def test_tars_become_shards_of_their_name_and_a_repaired_one_is_read_on(pictures, ask):
    write_tar(Path("0.tar"), 11)
    write_tar(Path("1.tar"), 11)
    whole = Path("1.tar").read_bytes()
    Path("1.tar").write_bytes(whole[:9000])
    summary = run(ask("{0..1}.tar", output=Path("out")))
    assert summary.failed == 1
    assert sorted(shard_bytes(Path("out"))) == ["0.parquet", "1.parquet"]
    assert [row.text for row in read_rows("out/0.parquet")] == [
        f"no {number}" for number in range(11)
    ]
    assert 0 < summary.images < 22
    Path("1.tar").write_bytes(whole)
    summary = run(ask(output=Path("out"), retry_failed=True))
    assert (summary.images, summary.failed) == (22, 0)
    rows = [*read_rows("out/1.parquet"), *read_rows("out/1.retry-001.parquet")]
    assert [row.key for row in rows] == [f"1/{number:04d}" for number in range(11)]
    codes = [row.codes.tolist() for row in rows]
    assert codes == [row.codes.tolist() for row in read_rows("out/0.parquet")]


def test_a_finished_folder_is_left_alone(pictures, ask):
    run(ask("pictures", output=Path("out")))
    before = shard_bytes(Path("out"))
    with pytest.raises(DataError, match="holds a run of seed tokenize already") as raised:
        run(ask("pictures", output=Path("out")))
    assert "--resume" in raised.value.remedy
    (pictures / "99.png").write_bytes(png(99))  # came too late: the list is frozen
    summary = run(ask("pictures", output=Path("out"), resume=True))
    assert (summary.images, summary.computed) == (25, 0)
    assert shard_bytes(Path("out")) == before


def test_resuming_with_other_settings_is_refused(pictures, ask):
    run(ask("pictures", output=Path("out")))
    for change in (
        {"image_handling": "official"},
        {"batch_size": 8},
        {"shard_size": 7},
        {"image_column": "x"},
        {"limit": 3},
    ):
        with pytest.raises(DataError, match="was begun with"):
            run(ask("pictures", output=Path("out"), resume=True, **change))
    with pytest.raises(DataError, match="was begun with inputs"):
        run(ask("whole", output=Path("out"), resume=True))


def test_foreign_parquet_files_are_not_taken_for_shards(pictures, ask):
    Path("out").mkdir()
    Path("out/images-000000.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="did not plan"):
        run(ask("pictures", output=Path("out")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": Path("a.csv")}, "nothing can be written as .csv"),
        ({"output": Path("a.txt")}, "holds token text"),
        ({"output": Path("a"), "output_format": "tokens"}, "holds integers"),
        ({"output": Path("a.parquet"), "output_format": "tokens"}, "holds integers"),
        ({"output": Path("a.jsonl"), "retry_failed": True}, "folder of shards"),
        ({"resume": True}, "needs an output"),
        ({"engine": EngineChoice(nproc=2)}, "share out shards"),
    ],
)
def test_options_that_do_not_go_together(ask, options, message):
    with pytest.raises(UsageError, match=message):
        ask("x.png", **options).check()


def test_nothing_is_loaded_when_an_input_is_missing(ask):
    with pytest.raises(DataError, match="no such file"):
        run(ask("absent.png", output=Path("a.jsonl"), model="/no/model"))


def test_plan_counts_without_computing(pictures, ask):
    write_tar(Path("0.tar"), 3)
    planned = plan(ask("pictures", "0.tar", output=Path("out")))
    assert (planned["images"], planned["tars_not_counted"], planned["shards"]) == (25, 1, 4)
    assert planned["model"] == "tiny"
    assert not Path("out").exists()


def test_official_numerics_and_dtype_are_recorded(pictures, ask):
    run(ask("pictures/00.png", output=Path("out"), dtype="bfloat16"))
    assert read_header("out/images-000000.parquet").dtype == "bfloat16"
