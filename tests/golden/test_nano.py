"""Codes of the bundled model; they change only with a **Numerics** line in the changelog."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seedcli.data.emoji import read_emoji
from seedcli.data.images.images import Preprocess, open_image
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate

FACE = Path(__file__).parents[2] / "examples" / "face.png"
FINGERPRINT = "9ca52b8fc5a243ba"
GOLDEN = [358, 54, 125, 231, 125, 351, 54, 358, 409, 231, 131, 311, 311, 131, 231, 382]
GOLDEN += [181, 182, 311, 319, 311, 311, 182, 359, 358, 225, 98, 265, 265, 98, 368, 358]


@pytest.fixture(scope="module")
def nano():
    return load_seed_model(locate("seed-nano"))


def test_fingerprint(nano):
    assert nano.fingerprint == FINGERPRINT and nano.name == "seed-nano"


@torch.no_grad()
def test_codes_of_the_demo_picture(nano):
    pixels = Preprocess(nano.config.preprocess.codes)(open_image(FACE))[None]
    code_inputs = nano.code_inputs(nano.causal_embeddings(pixels))
    nearest = nano.codebook.distances(code_inputs)[0].topk(2, largest=False).values
    # another CPU may turn a code whose two nearest code vectors are as good as equal
    clear = nearest[:, 1] - nearest[:, 0] > 1e-3
    assert int(clear.sum()) >= 28
    assert nano.codes(code_inputs)[0][clear].tolist() == torch.tensor(GOLDEN)[clear].tolist()


def test_codes_tell_pictures_apart(nano):
    preprocess = Preprocess(nano.config.preprocess.codes)
    pictures = [
        picture
        for picture in read_emoji("unseen")
        if picture.vendor == "google" and not picture.skin_tones
    ][:48]
    codes = nano.encode(
        torch.stack([preprocess(open_image(picture.image)) for picture in pictures])
    )
    assert len({tuple(row) for row in codes.tolist()}) == len(pictures)
    assert codes.unique().numel() > 256
