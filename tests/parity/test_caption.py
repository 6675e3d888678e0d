"""CIDEr, BLEU and ROUGE-L equal those of pycocoevalcap 1.2 on hand-made captions."""

import json
from pathlib import Path

import pytest

from seedcli.benchmarks.caption import score_captions

CAPTIONS = json.loads((Path(__file__).parent / "data" / "vqa_caption_metrics.json").read_text())[
    "captions"
]
SAID = [item["caption"] for item in CAPTIONS["items"]]
KNOWN = [item["references"] for item in CAPTIONS["items"]]


# these captions are words and single spaces already
@pytest.mark.parametrize("tokenisation", ["none", "words"])
def test_whole_set_and_each_caption(tokenisation):
    scores = score_captions(SAID, KNOWN, tokenisation=tokenisation)
    expected = CAPTIONS["corpus"]
    assert scores.metrics["cider"] == pytest.approx(100 * expected["CIDEr"], abs=1e-9)
    assert [scores.metrics[f"bleu_{n}"] for n in (1, 2, 3, 4)] == pytest.approx(
        [100 * value for value in expected["BLEU"]], abs=1e-9
    )
    assert scores.metrics["rouge_l"] == pytest.approx(100 * expected["ROUGE_L"], abs=1e-9)
    assert scores.cider == pytest.approx(
        [100 * item["cider"] for item in CAPTIONS["items"]], abs=1e-9
    )
    assert scores.rouge_l == pytest.approx(
        [100 * item["rouge_l"] for item in CAPTIONS["items"]], abs=1e-9
    )


def test_cider_is_a_figure_of_the_whole_set():
    scores = score_captions(SAID[:8], KNOWN[:8])
    assert scores.metrics["cider"] == pytest.approx(
        100 * CAPTIONS["first_8_only"]["CIDEr"], abs=1e-9
    )
    assert scores.cider == pytest.approx(
        [100 * value for value in CAPTIONS["first_8_only"]["cider"]], abs=1e-9
    )
