"""A model is found once: its folder is looked at and its description read at the edge of a request;
from there on the files travel.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.models.weights import locate, locate_llm


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what `locate` and `locate_llm` do each time that somebody asks them."""
    found: Counter[str] = Counter()
    for module, name in (
        (locate, "_locate_folder"),
        (locate, "read_model_facts"),
        (locate_llm, "read_llama_config"),
        (locate_llm, "read_llm_facts"),
    ):

        def counted(*arguments, _name=name, _function=getattr(module, name), **options):
            found[_name] += 1
            return _function(*arguments, **options)

        monkeypatch.setattr(module, name, counted)
    return found


def test_a_model_is_found_once(tmp_path: Path, calls: Counter[str]) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 20), "red").save(picture)

    def ask(*words: object, stdin: str | None = None) -> str:
        calls.clear()
        done = CliRunner().invoke(app, list(map(str, words)), input=stdin)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    tokenizer = {"_locate_folder": 1, "read_model_facts": 1}
    codes = ask("tokenize", picture)
    assert calls == tokenizer
    ask("detokenize", "-", "-o", tmp_path / "out.png", "--steps", 1, stdin=codes)
    assert calls == tokenizer
    words = ["--image", picture, "--draw", "--picture-steps", 1, "-o", tmp_path / "drawn"]
    answer = json.loads(ask("chat", "--once", "Draw it again.", *words, "--json"))
    # the language model's visual tokenizer is another model, which is found once, too
    assert calls == tokenizer | {"read_llama_config": 1, "read_llm_facts": 1}
    assert len(answer["images"]) == 1
