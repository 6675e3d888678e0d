"""Stages of the visual tokenizer that start from models under other names than a folder's."""

from __future__ import annotations

import io
import tarfile

import pytest
from PIL import Image

from seedcli.console import Reporter
from seedcli.errors import UsageError
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.recipe.read import load_recipe
from seedcli.workflows.models import verify
from seedcli.workflows.train.tokenizer import run

UNREADABLE = "is not an image that can be read"


class Noting(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_preset_is_finetuned_and_saved_with_its_words_and_says_what_gave_way(tmp_path):
    with tarfile.open(tmp_path / "pairs.tar", "w") as tar:
        for number in range(4):
            picture = io.BytesIO()
            Image.new("RGB", (40, 40), (60 * number, 90, 30)).save(picture, "PNG")
            for name, content in (
                (f"{number}.png", b"<html>" if number == 2 else picture.getvalue()),
                (f"{number}.txt", b"a plain colour"),
            ):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    source = f'[{{kind = "tar", path = "{tmp_path / "pairs.tar"}", weight = 1.0}}]'
    values = [
        "tokenizer=seed-nano",
        "target=seed-nano",
        "features.source=stream",
        "codebook.start_vectors=1024",
        f"data.sources={source}",
        "optimization.steps=1",
        "optimization.batch_size=4",
        "optimization.warmup_steps=1",
        "parallel.device=cpu",
        "parallel.precision=bf16",  # k-means' vectors, too
    ]
    reporter = Noting()
    result = run(load_recipe("nano-codebook", values), tmp_path / "run", reporter=reporter)
    # one update of 4, each of which reads all four; k-means' vectors are no training
    assert result["left_out"] == {str(tmp_path / "pairs.tar"): {"rows": 5, UNREADABLE: 1}}
    said = f"{tmp_path / 'pairs.tar'}: 1 of 5 rows drawn are left out (1 {UNREADABLE})"
    assert said in reporter.notes
    assert verify(result["model"])[-1]["text_branch"]
    words = (tmp_path / "run" / "model" / "vocab.txt").read_bytes()
    assert words == (BUNDLED_NANO / "vocab.txt").read_bytes()


def test_a_name_that_is_nothing_is_refused_before_the_first_step(tmp_path):
    recipe = load_recipe("nano-codebook", ["tokenizer=seed-mano", "target=seed-nano"])
    with pytest.raises(UsageError, match="did you mean seed-nano"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
