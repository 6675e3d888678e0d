"""Pictures on terminals: decoded again by readers of the protocols."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from seedcli.data.images.images import ImageError
from seedcli.data.images.terminal import (
    COLUMN_PX,
    GAP_PX,
    SHOWN_PX,
    side_by_side,
    terminal_picture,
)


@pytest.fixture
def picture(tmp_path):
    """Four quarters of plain colours, twice as wide as high."""
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[:30, 60:] = (255, 0, 0)
    pixels[30:, :60] = (0, 255, 0)
    pixels[30:, 60:] = (0, 0, 255)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def shown(image: Image.Image) -> np.ndarray:
    """Colours in the middle of the four quarters."""
    assert image.size == (SHOWN_PX, SHOWN_PX // 2)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return pixels[[32, 32, 96, 96], [64, 192, 64, 192]]


EXPECTED = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])


def test_kitty(picture) -> None:
    text = terminal_picture(picture, "kitty")
    codes = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert codes[0][0].startswith("a=T,f=100,") and [keys[-3:] for keys, _ in codes] == ["m=1"] * (
        len(codes) - 1
    ) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in codes)
    assert (
        shown(Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in codes)))))
        == EXPECTED
    ).all()


def test_iterm(picture) -> None:
    match = re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=(\d+):([^\a]*)\a\n", terminal_picture(picture, "iterm")
    )
    data = base64.b64decode(match[2])
    assert len(data) == int(match[1])
    assert (shown(Image.open(io.BytesIO(data))) == EXPECTED).all()


def test_sixel(picture) -> None:
    text = terminal_picture(picture, "sixel")
    match = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\\n', text, re.DOTALL)
    width, height = int(match[1]), int(match[2])
    canvas = np.zeros((height + 6, width, 3), np.uint8)
    palette, color, column, top = {}, 0, 0, 0
    for number, definition, run, char in re.findall(
        r"#(\d+)(;2;\d+;\d+;\d+)?|!(\d+)(?=[?-~])|([?-~$-])", match[3]
    ):
        if number:
            color = int(number)
            if definition:
                palette[color] = [round(int(value) * 2.55) for value in definition.split(";")[2:]]
        elif run:
            repeat = int(run)
        elif char == "$":
            column = 0
        elif char == "-":
            column, top = 0, top + 6
        else:
            bits = ord(char) - 63
            for row in range(6):
                if bits >> row & 1:
                    canvas[top + row, column : column + repeat] = palette[color]
            column += repeat
        if not run:
            repeat = 1
    assert np.abs(shown(Image.fromarray(canvas[:height])) - EXPECTED).max() <= 3


def test_half_blocks(picture) -> None:
    rows = [
        re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀", line)
        for line in terminal_picture(picture, "blocks").removesuffix("\x1b[0m\n").split("\x1b[0m\n")
    ]
    cells = np.array(rows).astype(np.uint8)  # an upper and a lower pixel each
    columns = SHOWN_PX // COLUMN_PX
    assert cells.shape == (columns // 4, columns, 6)
    pixels = cells.reshape(columns // 4, columns, 2, 3).swapaxes(1, 2).reshape(-1, columns, 3)
    large = Image.fromarray(pixels).resize((SHOWN_PX, SHOWN_PX // 2), Image.Resampling.NEAREST)
    assert (shown(large) == EXPECTED).all()


def test_pictures_side_by_side(picture, tmp_path) -> None:
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    row = side_by_side([picture, tmp_path / "clear.png"], height_px=60)
    assert row.size == (120 + GAP_PX + 60, 60) and row.mode == "RGB"
    assert row.getpixel((90, 15)) == (255, 0, 0)
    assert row.getpixel((125, 30)) == row.getpixel((190, 30)) == (255, 255, 255)
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(ImageError, match="words.png"):
        side_by_side([picture, tmp_path / "words.png"])
