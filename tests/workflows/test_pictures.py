"""The library's object: pictures in any form, codes equal to the command line's, pictures equal to
the command line's, and silence.
"""

from __future__ import annotations

import json
import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from seedcli import SeedTokenizer
from seedcli.cli.main import app
from seedcli.data.images.images import ImageError
from seedcli.errors import DataError, UsageError
from seedcli.models.visual.model import SeedModel


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder: Path) -> SeedTokenizer:
    return SeedTokenizer.from_pretrained(tiny_model_folder, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty pictures, one more than a pass and some."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number:02d}.png" for number in range(40)]
    for number, path in enumerate(paths):
        blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((60, 50), Image.Resampling.BICUBIC).save(path)
    return paths


def test_every_form_of_a_picture_has_the_codes_of_its_file(tokenizer, pictures) -> None:
    path = pictures[3]
    array = np.asarray(Image.open(path))
    tensor = torch.from_numpy(array.copy()).movedim(-1, 0)
    address = "memory://pictures/3.png"
    with fsspec.open(address, "wb") as file:
        file.write(path.read_bytes())
    expected = tokenizer.encode(path)
    assert expected.shape == (1, 32) and expected.dtype == torch.int64
    forms = {
        "str": str(path),
        "address": address,
        "bytes": path.read_bytes(),
        "image": Image.open(path),
        "array": array,
        "float array": array / 255,
        "alpha": np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]),
        "uint16": array.astype(np.uint16) << 8,
        "tensor": tensor,
        "float tensor": tensor / 255,
        "strided": np.asfortranarray(array),
        "one of many": [path],
        "array of many": array[None],
        "tensor of many": tensor[None],
    }
    for name, form in forms.items():
        assert torch.equal(tokenizer.encode(form), expected), name
    grey = np.asarray(Image.open(path).convert("L"))
    grey_codes = tokenizer.encode(Image.fromarray(grey))
    for form in (grey, grey[:, :, None], torch.from_numpy(grey.copy()), grey / 255):
        assert torch.equal(tokenizer.encode(form), grey_codes)


def test_orientation_and_alpha_are_those_of_the_file_and_are_applied_once(
    tokenizer, pictures, tmp_path
) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(pictures[0]).save(turned, exif=exif, quality=95)
    clear = tmp_path / "clear.png"
    with_alpha = Image.open(pictures[1]).convert("RGBA")
    with_alpha.putalpha(60)
    with_alpha.save(clear)
    for path in (turned, clear):
        expected = tokenizer.encode(path)
        assert torch.equal(tokenizer.encode(Image.open(path)), expected)
        official = tokenizer.encode(path, image_handling="official")
        assert not torch.equal(official, expected)
        assert torch.equal(tokenizer.encode(Image.open(path), image_handling="official"), official)
    from seedcli.data.images.images import open_image

    assert torch.equal(tokenizer.encode(open_image(turned)), tokenizer.encode(turned))


@pytest.mark.parametrize("count", [1, 3, 40])
def test_codes_and_passes_are_those_of_the_command_line(
    tokenizer, pictures, tiny_model_folder, monkeypatch, count
) -> None:
    shapes: list[int] = []
    embed = SeedModel.causal_embeddings

    def watched(self: SeedModel, pixels: Any) -> Any:
        shapes.append(len(pixels))
        return embed(self, pixels)

    monkeypatch.setattr(SeedModel, "causal_embeddings", watched)
    chosen = list(map(str, pictures[:count]))
    words = ["tokenize", *chosen, "--model", str(tiny_model_folder), "--device", "cpu"]
    typed = CliRunner().invoke(app, words)
    assert typed.exit_code == 0, typed.stderr
    of_command, shapes[:] = list(shapes), []
    codes = tokenizer.encode(chosen)
    rows = [json.loads(line) for line in typed.stdout.splitlines()]
    assert codes.tolist() == [row["codes"] for row in rows]
    assert {row["fingerprint"] for row in rows} == {tokenizer.fingerprint}
    assert shapes == of_command == {1: [1], 3: [3], 40: [32, 32]}[count]
    shapes.clear()
    assert torch.equal(tokenizer.encode(iter(chosen)), codes)
    assert shapes == of_command


def test_a_fixed_shape_is_that_of_shards(tokenizer, pictures, monkeypatch) -> None:
    shapes: list[int] = []
    embed = SeedModel.causal_embeddings

    def watched(self: SeedModel, pixels: Any) -> Any:
        shapes.append(len(pixels))
        return embed(self, pixels)

    monkeypatch.setattr(SeedModel, "causal_embeddings", watched)
    tokenizer.encode(pictures[:3], fixed_shape=True, batch_size=5)
    tokenizer.encode(pictures[:6], batch_size=5)
    assert shapes == [5, 5, 5]


def test_embeddings_are_what_codes_are_made_of(tokenizer, pictures) -> None:
    embeddings = tokenizer.embed(pictures[:3])
    assert embeddings.shape == (3, 32, 96) and embeddings.dtype == torch.float32
    codes = tokenizer.model.codes(tokenizer.model.code_inputs(embeddings))
    assert torch.equal(codes, tokenizer.encode(pictures[:3]))
    probe = torch.nn.Linear(96, 1)
    probe(embeddings).sum().backward()  # inference tensors would refuse
    assert probe.weight.grad is not None


def test_pictures_are_those_of_the_command_line(
    tokenizer, pictures, tiny_model_folder, tmp_path
) -> None:
    codes = tokenizer.encode(pictures[:3])
    lines = "\n".join(json.dumps({"codes": row}) for row in codes.tolist())
    quick = ["--steps", "2", "--guidance", "3", "--seed", "7", "--device", "cpu"]
    words = ["detokenize", "-", "-o", str(tmp_path), "--model", str(tiny_model_folder), *quick]
    typed = CliRunner().invoke(app, words, input=lines)
    assert typed.exit_code == 0, typed.stderr
    drawn = tokenizer.decode(codes, seed=7, steps=2, guidance=3)
    files = [json.loads(line)["output"] for line in typed.stdout.splitlines()]
    assert [image.tobytes() for image in drawn] == [Image.open(file).tobytes() for file in files]
    how = {"steps": 2, "guidance": 3}
    again = tokenizer.decode(codes[1], seed=8, **how)
    away = tokenizer.decode(codes[:2], seed=[7, 8], negative=codes[2], **how)
    each = tokenizer.decode(codes[:2], seed=[7, 8], negative=codes[[2, 2]].tolist(), **how)
    # matrix products of another batch size round otherwise: one step of a byte at most, measured
    assert _worst(again, drawn[1:2]) <= 1 and _worst(each, away) <= 1
    assert _worst(away, drawn[:2]) > 20


def _worst(some: list[Image.Image], others: list[Image.Image]) -> int:
    pairs = [[np.asarray(each, int) for each in pair] for pair in zip(some, others, strict=True)]
    return max(int(np.abs(one - other).max()) for one, other in pairs)


def test_codes_are_text_and_back(tokenizer, pictures) -> None:
    codes = tokenizer.encode(pictures[:2])
    text = tokenizer.to_text(codes[0])
    assert text.startswith("<img><img_000") and text.endswith("></img>")
    assert torch.equal(tokenizer.from_text(f"a picture {text} of"), codes[:1])
    assert torch.equal(tokenizer.from_text(tokenizer.to_text(codes)), codes)
    assert (tokenizer.num_codes, tokenizer.num_queries) == (64, 32)


def test_what_is_wrong_is_said(tokenizer, pictures, tmp_path) -> None:
    def refused(images, words: str) -> None:
        with pytest.raises(ImageError, match=words):
            tokenizer.encode(images)

    first = pictures[0]
    broken = tmp_path / "broken.png"
    broken.write_bytes(first.read_bytes()[:60])
    refused([first, tmp_path / "none.png"], r"none\.png: no such file")
    refused([first, broken], r"broken\.png: is")
    refused([first, broken.read_bytes()], "image 1: is")
    refused(Image.new("RGB", (0, 3)), "has no pixels")
    refused([first, Image.open(BytesIO(first.read_bytes()[:-200]))], "image 1: is damaged")
    refused(np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\)")
    refused(torch.zeros(8, 8, 3), r"shape \(8, 3, 8\)")
    refused(np.zeros((0, 8, 3), np.uint8), "no pixels")
    refused(np.full((8, 8, 3), 2.0), "float samples from 2 to 2")
    refused(np.full((8, 8, 3), np.nan), "float samples from nan")
    refused(np.zeros((8, 8, 3), np.int64), "type int64")
    refused([first, 3], "image 1: is a int, expected a path")
    with pytest.raises(UsageError, match="no image"):
        tokenizer.encode([])
    with pytest.raises(UsageError, match="codes: 3 codes, expected exactly 32"):
        tokenizer.decode([1, 2, 3])
    with pytest.raises(UsageError, match="codes of image 1: code 0 is 64, expected"):
        tokenizer.decode([[0] * 32, [64] + [0] * 31])
    with pytest.raises(UsageError, match="2 seeds for 1 images"):
        tokenizer.decode([0] * 32, seed=[1, 2])
    with pytest.raises(UsageError, match="steps is 0"):
        tokenizer.decode([0] * 32, steps=0)
    with pytest.raises(UsageError, match="no effect with guidance 1"):
        tokenizer.decode([0] * 32, guidance=1, negative=[0] * 32)
    with pytest.raises(UsageError, match="holds no image"):
        tokenizer.from_text("words")
    with pytest.raises(UsageError, match="did you mean seed-nano"):
        SeedTokenizer.from_pretrained("seed-nanu")
    with pytest.raises(DataError, match="no folder at"):
        SeedTokenizer.from_pretrained(tmp_path / "nothing")


def test_a_library_is_silent_and_tells_who_asks(tiny_model_folder, pictures, capfd, caplog) -> None:
    heard: list[tuple[str, int, int | None]] = []
    tokenizer = SeedTokenizer.from_pretrained(
        tiny_model_folder, device="cpu", offload=True, progress=lambda *told: heard.append(told)
    )
    codes = tokenizer.encode(pictures)
    tokenizer.encode(iter(pictures[:2]))
    tokenizer.decode(codes[:9], steps=1, guidance=1)
    assert heard == [
        ("encode", 32, 40),
        ("encode", 40, 40),
        ("encode", 2, None),
        ("draw", 8, 9),
        ("draw", 9, 9),
    ]
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("seedcli").level == logging.NOTSET
    shown = SeedTokenizer.from_pretrained(tiny_model_folder, device="cpu", progress=True)
    shown.encode(pictures[:1])
    out, err = capfd.readouterr()
    assert out == "" and "encode" in err
