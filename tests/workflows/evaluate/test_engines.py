"""Benchmarks on other engines: the same answers, scores and pictures.

Questions go through real processes; for the rest an engine stands in that has everything travel.
"""

from __future__ import annotations

import json

import pytest

from seedcli.console import Reporter
from seedcli.engine.engines import EngineChoice, Slice
from seedcli.errors import UsageError
from seedcli.workflows.evaluate import samples
from seedcli.workflows.evaluate.ablation.masks import _Writer
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.ablation.sides import Side
from seedcli.workflows.evaluate.judge import Judge
from seedcli.workflows.evaluate.requests import (
    AskSettings,
    CaptionSettings,
    SimilaritySettings,
    VqaRequest,
)
from seedcli.workflows.evaluate.run import measure
from tests.engine.elsewhere import send_elsewhere, travelled
from tests.set_files import write_noise


@pytest.fixture
def pictures(tmp_path):
    return write_noise(tmp_path, 4)


def without_times(result: dict) -> dict:
    return {
        key: result[key] for key in result.keys() - {"elapsed_s", "folder", "num_reused", "sheet"}
    }


def contents(folder, names="*.png") -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(names))
    }


def test_questions(pictures, tiny_llm_folder, tmp_path):
    rows = [
        {"image": name, "question": question, "answer": "12"}
        for name in pictures
        for question in ("How many?", "Which animal?")
    ]
    rows[3]["question"] = "<img>"  # cannot be asked: words hold image tokens
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    ask = AskSettings(model=str(tiny_llm_folder), device="cpu", max_new_tokens=4)

    def answer(folder, **choice):
        request = VqaRequest(
            dataset=str(tmp_path / "mine.json"),
            ask=ask,
            by="generation",
            batch_size=2,
            output=tmp_path / folder,
            engine=EngineChoice(**choice),
        )
        return measure(request)

    alone, together = answer("alone"), answer("together", nproc=2)
    assert alone["num_failed"] == 1
    assert without_times(together) == without_times(alone)
    parts = [answer("parts", part=Slice(index, 2)) for index in range(2)]
    assert [part["num_answered"] for part in parts] == [4, 4]
    last = answer("parts")
    assert last["num_reused"] == 8 and without_times(last) == without_times(alone)


def test_drawn_pictures(pictures, tiny_model_folder, tiny_judge_folder, tmp_path, monkeypatch):
    travelling = send_elsewhere(monkeypatch, samples)
    rows = [{"image": name, "caption": f"number {name[0]}"} for name in pictures]
    (tmp_path / "mine.json").write_text(json.dumps(rows))

    def draw(folder, **choice):
        return measure(
            SimilaritySettings(
                task="image",
                dataset=str(tmp_path / "mine.json"),
                captions=CaptionSettings(model=str(tiny_model_folder), device="cpu"),
                steps=2,
                ceiling=True,
                judge=str(tiny_judge_folder),
                output=tmp_path / folder,
                batch_size=2,
                engine=EngineChoice(**choice),
            )
        )

    alone = draw("alone")
    assert draw("parts", part=Slice(1, 2))["part"] == "1/2"
    assert len(contents(tmp_path / "parts" / "pictures")) == 2
    assert not travelling
    assert without_times(draw("elsewhere", nproc=2)) == without_times(alone)
    # drawn, judged, and both once more from the true embeddings: two batches each
    assert len(travelling) == 4 * 2
    for names in ("*.png", "samples.jsonl"):
        assert contents(tmp_path / "elsewhere", names) == contents(tmp_path / "alone", names)
    assert len(contents(tmp_path / "alone", "samples.jsonl")) == 4
    assert len(contents(tmp_path / "alone" / "pictures")) == 4


def test_a_judge_travels_without_its_weights(tiny_judge_folder):
    judge = Judge(str(tiny_judge_folder), emoji=False, device="cpu")
    assert judge.clip.name == judge.name
    there = travelled(judge)
    assert "clip" not in vars(there) and there.facts == judge.facts


def test_a_side_of_an_ablation_travels_without_its_models(tiny_llm_folder, tmp_path):
    request = AblationRequest(device="cpu")
    side = Side("causal", str(tiny_llm_folder), request, reporter=Reporter())
    assert side.speaker.llm
    writer = travelled(_Writer(side, request.choice(), tmp_path))
    assert "llm" not in vars(writer.side.speaker)
    assert writer.side.settings() == side.settings()


def test_an_ablation_is_not_cut_into_parts():
    with pytest.raises(UsageError, match="compares whole runs"):
        AblationRequest(engine=EngineChoice(part=Slice(0, 2))).check()
