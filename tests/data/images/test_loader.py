"""Decoding in workers: the same as in this process, in order, bounded, and alive after an
image that kills a worker.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedcli.data.images.images import Preprocess, open_image
from seedcli.data.images.items import Item
from seedcli.data.images.loader import ImageLoader
from seedcli.models.visual.config import PreprocessConfig

CONFIG = PreprocessConfig(image_size_px=16, geometry="squash", interpolation="bilinear")


class Deadly(Item):
    """An item that ends the process that unpickles it, as a decoder's segmentation fault would."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for number in range(20):
        Image.new("RGB", (20 + number, 30), (number, 255 - number, 7)).save(
            tmp_path / f"{number:02d}.png"
        )
    (tmp_path / "05.png").write_bytes(b"")
    (tmp_path / "06.txt").write_text(" six \n")
    return [
        Item(
            f"{number:02d}",
            "s",
            path=str(tmp_path / f"{number:02d}.png"),
            text_path=str(tmp_path / "06.txt") if number == 6 else None,
        )
        for number in range(20)
    ]


def chunks(items: list[Item], size: int = 3) -> list[list[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


@pytest.mark.parametrize("workers", [0, 2])
def test_order_reasons_captions_and_squares(items, workers):
    with ImageLoader(CONFIG, workers=workers) as loader:
        batches = list(loader.batches(chunks(items)))
    assert [item.key for batch in batches for item in batch.items] == [item.key for item in items]
    reasons = [reason for batch in batches for reason in batch.reasons]
    assert reasons[5] == "is empty (0 bytes)"
    assert [reason for number, reason in enumerate(reasons) if number != 5] == [None] * 19
    squares = np.concatenate([batch.squares for batch in batches])
    assert not squares[5].any()
    preprocess = Preprocess(CONFIG)
    for number in (0, 4, 19):
        assert np.array_equal(squares[number], preprocess.to_array(open_image(items[number].path)))
    assert [item.text for batch in batches for item in batch.items][6] == "six"


def test_bytes_are_decoded_and_not_sent_back(items):
    data = Path(items[0].path).read_bytes()
    with ImageLoader(CONFIG, workers=1) as loader:
        (batch,) = loader.batches([[Item("k", "s", data=data), Item("k", "s", problem="gone")]])
    assert batch.items[0].data is None
    assert batch.reasons == [None, "gone"]


def test_an_image_that_kills_its_worker_fails_alone(items):
    items[7] = Deadly("07", "s", path=items[7].path)
    with ImageLoader(CONFIG, workers=2) as loader:
        batches = list(loader.batches(chunks(items)))
    reasons = [reason for batch in batches for reason in batch.reasons]
    assert {number: reason for number, reason in enumerate(reasons) if reason} == {
        5: "is empty (0 bytes)",
        7: "the decoder crashed on it",
    }
    assert [item.key for batch in batches for item in batch.items] == [item.key for item in items]


def test_chunks_are_read_no_further_than_the_workers_need(items):
    taken = 0

    def counted():
        nonlocal taken
        for chunk in chunks(items, 1):
            taken += 1
            yield chunk

    with ImageLoader(CONFIG, workers=2) as loader:
        batches = loader.batches(counted())
        next(batches)
        assert taken <= 4


def test_random_geometry_is_refused():
    with pytest.raises(ValueError, match="fixed geometry"):
        ImageLoader(
            PreprocessConfig(image_size_px=16, geometry="random-affine", interpolation="bilinear")
        )
