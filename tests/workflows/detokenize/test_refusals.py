"""What is said of codes before anything is drawn: which are read, refused, named and kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedcli.data.images.facts import PNG_KEY, read_picture_facts
from seedcli.data.images.images import save_image
from seedcli.errors import DataError, UsageError
from seedcli.models.language.vocab import format_span
from seedcli.workflows.detokenize.draw import draw
from seedcli.workflows.detokenize.request import DetokenizeRequest
from seedcli.workflows.detokenize.run import Plan
from tests.workflows.detokenize.quick_runs import (
    Listener,
    as_lines,
    make_codes,
    open_picture,
    plan,
    read_fingerprint,
)


def _names(planned: Plan) -> list[str]:
    return [picture.path.name for picture in planned.pictures]


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ([8192] + [0] * 31, "line 2: code 0 is 8192, expected 0..8191"),
        ([0] * 31, "line 2: 31 codes, expected exactly 32"),
        ([0] * 33, "line 2: 33 codes"),
        ([0] * 31 + [-1], "code 31 is -1"),
        ([1.0] + [0] * 31, "code 0 is 1.0, expected an integer"),
        ([True] + [0] * 31, "code 0 is True, expected an integer"),
        (["7"] + [0] * 31, "code 0 is '7', expected an integer"),
        (["<img_00007>"] * 32, "code 0 is '<img_00007>'"),
        ([None] * 32, "code 0 is None"),
        ("0" * 32, "codes are str"),
        (None, "codes are NoneType"),
        ({}, "codes are dict"),
    ],
)
def test_one_malformed_image_of_many_refuses_all(tmp_path: Path, codes: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(
            [],
            tmp_path / "out",
            DetokenizeRequest(device="cpu", model="seed-2"),
            stdin=as_lines({"codes": [0] * 32}, {"codes": codes}, {"codes": [0] * 32}),
        )
    assert says in caught.value.message
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_codes_of_another_model_are_refused_before_their_range_is(
    settings: Any, tmp_path: Path
) -> None:
    stdin = {"codes": [8191] * 32, "model": "seed-2", "fingerprint": "0123456789abcdef"}
    with pytest.raises(
        DataError,
        match=r"line 1: these codes were made by seed-2 \(0123456789abcdef\), not by tiny",
    ) as caught:
        plan([], tmp_path / "out.png", settings(), stdin=as_lines(stdin))
    assert "--model seed-2" in caught.value.remedy
    with pytest.raises(UsageError, match="8191"):
        plan([], tmp_path / "out.png", settings(force=True), stdin=as_lines(stdin))
    listener = Listener()
    planned = plan(
        [],
        tmp_path / "out.png",
        settings(force=True),
        stdin=as_lines(stdin | {"codes": make_codes()}),
        reporter=listener,
    )
    assert len(planned.pictures) == 1
    assert "made by seed-2" in listener.said[0]


def test_a_fingerprint_that_only_weights_tell_is_checked_before_drawing(
    released_folder: Path, tiny_decoder_folder: Path, tmp_path: Path
) -> None:

    folder = tmp_path / "released"
    shutil.copytree(released_folder, folder)
    (folder / "seed_fingerprint.json").unlink(missing_ok=True)
    shutil.copytree(tiny_decoder_folder, folder / "decoder")
    settings = DetokenizeRequest(device="cpu", model=str(folder), steps=1, guidance=1.0)
    foreign = plan(
        [],
        tmp_path / "out.png",
        settings,
        stdin=as_lines({"codes": make_codes(), "fingerprint": "f00"}),
    )
    with pytest.raises(DataError, match="f00"):
        list(draw(foreign))
    assert not (tmp_path / "out.png").exists()

    [result] = draw(plan([], tmp_path / "out.png", settings, stdin=as_lines(make_codes())))
    assert len(result["fingerprint"]) == 16


def test_a_picture_of_other_weights_is_not_kept(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Where only loading tells the fingerprint, what is kept is decided after it."""
    settings = DetokenizeRequest(
        device="cpu", model=str(tiny_model_folder), steps=1, guidance=1.0, resume=True
    )
    out = tmp_path / "out.png"
    known = plan([], out, settings, stdin=as_lines(make_codes()))
    [drawn] = draw(known)
    unknown = dataclasses.replace(known.model, fingerprint=None)
    [picture] = known.pictures
    for fingerprint, kept in ((drawn["fingerprint"], True), ("f00", False)):
        save_image(
            open_picture(out),
            out,
            text={PNG_KEY: json.dumps(picture.facts | {"fingerprint": fingerprint})},
        )
        late = dataclasses.replace(picture, facts=picture.facts | {"fingerprint": None}, kept=True)
        [result] = draw(dataclasses.replace(known, model=unknown, pictures=[late]))
        assert (result["fingerprint"], result.get("kept", False)) == (drawn["fingerprint"], kept)


def test_a_file_of_token_text(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "codes.txt"
    path.write_text(format_span(make_codes(1)) + "\n" + format_span(make_codes(2)) + "\n")
    planned = plan([str(path)], tmp_path / "out", settings())
    assert [picture.image.codes for picture in planned.pictures] == [make_codes(1), make_codes(2)]
    assert _names(planned) == ["000000.png", "000001.png"]


@pytest.mark.parametrize("folder", [False, True])
def test_token_shards_and_parquet(
    settings: Any, tiny_model_folder: Path, tmp_path: Path, folder: bool
) -> None:
    from seedcli.data.tokens.shards import ShardHeader, TokenRow, write_shard

    header = ShardHeader(
        tokenizer="tiny",
        fingerprint=read_fingerprint(tiny_model_folder),
        num_queries=32,
        num_codes=64,
        image_handling="seed",
        numerics="default",
        dtype="float32",
        micro_batch=(2, 3, 56, 56),
    )
    path = tmp_path / "tokens" / "000000.parquet"
    path.parent.mkdir()
    write_shard(
        path,
        header,
        [
            TokenRow(f"k{index}", make_codes(index), None, f"photos/{index}.jpg", None)
            for index in range(3)
        ],
    )
    planned = plan([str(path.parent if folder else path)], tmp_path / "out", settings(limit=2))
    assert [picture.image.codes for picture in planned.pictures] == [make_codes(0), make_codes(1)]
    assert _names(planned) == ["0.png", "1.png"]
    assert planned.pictures[1].image.where == f"{path}, row 1"
    with pytest.raises(DataError, match="made by tiny"):
        plan(
            [str(path)],
            tmp_path / "out",
            DetokenizeRequest(device="cpu", model=str(_other_model(tiny_model_folder, tmp_path))),
        )


def _other_model(folder: Path, tmp_path: Path) -> Path:
    other = tmp_path / "other"
    other.mkdir()
    facts = json.loads((folder / "seed_tokenizer.json").read_text())
    (other / "seed_tokenizer.json").write_text(json.dumps(facts | {"weights_digest": "feed"}))
    (other / "model.safetensors").touch()
    return other


def test_names_come_from_sources_and_never_collide(settings: Any, tmp_path: Path) -> None:
    sources = [
        "a/cat.jpg",
        "b/cat.png",
        "CAT.webp",
        "cat-2.jpg",
        None,
        "https://x.org/dog.jpg?size=2",
        "../..",
        "C:\\pics\\pig.gif",
        "ü ö.jpg",
        "a" * 300,
    ]
    stdin = as_lines(*({"codes": make_codes(), "source": source} for source in sources))
    names = _names(plan([], tmp_path / "out", settings(), stdin=stdin))
    assert names[:5] == ["cat.png", "cat-2.png", "CAT-3.png", "cat-2-2.png", "000004.png"]
    assert names[5:9] == ["dog.png", "000006.png", "pig.png", "ü_ö.png"]
    assert names[9] == "a" * 120 + ".png"


def test_outputs_that_cannot_be(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 images do not fit"):
        plan([], tmp_path / "out.png", settings(), stdin=as_lines(make_codes(), make_codes()))
    with pytest.raises(UsageError, match="PNG"):
        plan([], tmp_path / "out.jpg", settings(), stdin=as_lines(make_codes()))
    (tmp_path / "file").touch()
    for inside in ("file", "file/out", "file/out.png"):
        with pytest.raises(DataError, match="file is no folder"):
            plan([], tmp_path / inside, settings(), stdin=as_lines(make_codes()))
    with pytest.raises(UsageError, match="too large"):
        plan(
            [],
            tmp_path / "out",
            settings(seed=2**63 - 1),
            stdin=as_lines(make_codes(), make_codes()),
        )
    with pytest.raises(UsageError, match="stdin holds no codes"):
        plan([], tmp_path / "out", settings(), stdin=as_lines())


def test_a_file_that_is_not_ours_is_not_replaced(settings: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(photo)
    before = photo.read_bytes()
    for resume in (False, True):
        with pytest.raises(DataError, match="no picture of seed detokenize"):
            plan([], photo, settings(resume=resume), stdin=as_lines(make_codes()))
    assert photo.read_bytes() == before
    list(draw(plan([], photo, settings(force=True), stdin=as_lines(make_codes()))))
    assert read_picture_facts(photo)["codes"] == make_codes()
