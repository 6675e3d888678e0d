"""The README's table of seed-nano from whatever results there are."""

import json

import pytest

from seedcli.console import Reporter
from seedcli.errors import DataError
from tools.nano.tables import run


class Hearing(Reporter):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def write(folder, name, **result):
    (folder / name).mkdir(parents=True)
    base = {"dataset": "emoji", "split": "unseen", "model": "seed-nano", "fingerprint": "f"}
    (folder / name / "result.json").write_text(json.dumps(base | result))


@pytest.fixture
def results(tmp_path):
    metrics = {"i2t_r10": 35.03, "t2i_r10": 34.7, "r_mean": 23.0}
    for split, num in (("unseen", 177), ("vendor", 153)):
        write(
            tmp_path, f"codes-{split}", benchmark="retrieval", split=split, feature="codes",
            num_images=num, metrics=metrics,
            intervals={"i2t_r10": [28.2, 41.8]}, chance={"i2t_r10": 5.6, "t2i_r10": 5.7},
        )  # fmt: skip
    write(
        tmp_path, "prefix", benchmark="ablation", model="causal: seed-nano",
        settings={"part": "prefix"}, metrics={"causal_mean_8": 61.0},
        models={"causal": {"name": "seed-nano", "tokenizer": "seed-nano", "fingerprint": "f"}},
    )  # fmt: skip
    write(
        tmp_path,
        "vqa",
        benchmark="vqa",
        metrics={"accuracy": 71.5},
        majority={"accuracy": 44.0},
        num_images=500,
    )
    write(tmp_path, "other", benchmark="caption", model="mine", metrics={"cider": 99.0})
    (tmp_path / "nano-report.json").write_text(
        json.dumps(
            {
                "split": "unseen",
                "nearest_is_right": {
                    "codes": {"top1": 65.5, "top5": 96.0},
                    "true_embedding": {"top1": 84.2, "top5": 98.3},
                },
                "chance_top1": 0.56,
                "codebook_usage": 93.9,
            }
        )
    )
    share = {"top1": 50.0, "top5": 70.0, "num": 10, "chance": {"top1": 0.6, "top5": 2.8}}
    nearer = "nearer_to_target_than_to_source"
    edit = {
        "top1": 33.3,
        "top5": 60.0,
        nearer: 80.0,
        "own_codes": {"top1": 62.0, "top5": 90.0},
        "num": 20,
        "chance": {"top1": 0.2, "top5": 1.0, nearer: 50.0},
    }
    tasks = {
        "describe": share,
        "draw": share | {"own_codes": {"top1": 72.5, "top5": 90.0}},
        "draw_then_edit": {"num": 0},
        "edit": {"tone": edit, "colour": edit | {"num": 2}},
    }
    (tmp_path / "nano-llm-report.json").write_text(
        json.dumps(
            {
                "scores": {"vendor": tasks, "unseen": tasks},
                "valid_answers": 99.5,
                "ended_answers": 98.5,
            }
        )
    )
    return tmp_path


def test_one_table_of_what_is_there(results):
    reporter = Hearing()
    lines = run(results, reporter=reporter).splitlines()
    assert lines[0] == (
        "|  | emoji never seen (`unseen`, 177) | known emoji in a drawing never seen (`vendor`, "
        "153) | chance, or without a look |"
    )
    assert (
        "| picture -> caption, R@10, codes | 35.0 (28.2 to 41.8) | 35.0 (28.2 to "
        "41.8) | 5.6 / 5.6 |"
    ) in lines
    assert "| caption -> picture, R@10, codes | 34.7 | 34.7 | 5.7 / 5.7 |" in lines
    assert "| the same from the first 8 codes | 61.0 | - |  |" in lines
    assert "| questions about a picture, right answers, % | 71.5 | - | 44.0 |" in lines
    assert (
        "| picture from codes: its nearest original is its own, top 1, % | 65.5 | - | 0.6 |"
        in lines
    )
    assert "| codes of the codebook in use, % | 93.9 | - |  |" in lines
    assert (
        "| drawn picture is nearest to what was asked for, top 5, % | 70.0 | 70.0 | 2.8 / 2.8 |"
        in lines
    )
    assert (
        "| picture changed as told (tone): nearest to the right one, % | 33.3 | 33.3 | 0.2 / 0.2 |"
        in lines
    )
    assert (
        "| picture changed as told (tone): nearer to the right one than to the old one, % | 80.0 | "
        "80.0 | 50.0 / 50.0 |"
    ) in lines
    own = "of pictures from the right one's own codes, a ceiling, %"
    assert f"| the same (draw) {own} | 72.5 | 72.5 |  |" in lines
    assert f"| the same (tone) {own} | 62.0 | 62.0 |  |" in lines
    assert lines[-2:] == [
        "| answers whose pictures all hold exactly 32 codes, % | 99.5 | 99.5 |  |",
        "| answers that end within 80 tokens, % | 98.5 | 98.5 |  |",
    ]
    assert not any(
        "CIDEr" in line or "colour" in line or "causal embeddings" in line or "then changed" in line
        for line in lines
    )
    assert {line.count("|") for line in lines} == {5}
    assert (
        "not measured: seed eval caption --dataset emoji --split vendor --model seed-nano"
        in reporter.notes
    )
    assert len(reporter.notes) == len(set(reporter.notes))


def test_without_reports_the_table_is_shorter(results):
    for name in ("nano-report.json", "nano-llm-report.json"):
        (results / name).unlink()
    reporter = Hearing()
    assert len(run(results, reporter=reporter).splitlines()) == 6
    assert sum("make nano-tables writes it" in note for note in reporter.notes) == 2


def test_wrong_inputs(results, tmp_path):
    with pytest.raises(DataError, match="no folder at"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no result of seed-nano on emoji") as caught:
        run(tmp_path / "empty")
    assert "seed eval paper --model seed-nano" in caught.value.remedy
    (results / "nano-llm-report.json").write_text('{"scores": []}')
    with pytest.raises(DataError, match="nano-llm-report.json is no such report"):
        run(results)
