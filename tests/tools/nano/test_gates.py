"""The table of gates, and how a share's interval is computed."""

from __future__ import annotations

import pytest

from seedcli.models.weights.locate import BUNDLED_NANO
from tools.nano.gates import measure_reconstruction, table_of, wilson


def result(benchmark, split, metrics, *, intervals=None, **settings):
    return {
        "benchmark": benchmark,
        "split": split,
        "metrics": metrics,
        "intervals": intervals or {},
        "settings": settings,
    }


def model(clip_i, named, drawn):
    results = [
        result("clip-similarity", "unseen", {"clip_i": clip_i + 30}, task="text"),
        result(
            "clip-similarity",
            "unseen",
            {"clip_i": clip_i},
            intervals={"clip_i": [clip_i - 1, clip_i + 1]},
            task="image",
        ),
        result("caption", "vendor", {"name_top1": named}, intervals={"name_top1": [40.0, 50.0]}),
    ]
    scores = {"vendor": {"draw": {"top1": drawn, "top5": 95.0, "num": 150}}}
    return results, {"scores": scores, "valid_answers": 100.0}


def test_gates_stand_beside_each_other_with_their_intervals():
    lines = list(
        table_of(model(50.0, 42.5, 38.0), model(70.0, 71.0, 60.0), {"unseen": 90.0, "vendor": 90.0})
    )
    rows = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:] for line in lines[2:]}
    way = rows["of the way to the reconstruction, unseen, %"]
    assert way == ["0.0", "50.0 (47.5 to 52.5)", "50", "yes |"]
    assert rows["picture from codes, similarity, unseen (reconstruction 90.0)"][1] == (
        "70.0 (69.0 to 71.0)"
    )
    assert rows["its right name is the likeliest, drawing never seen"][2:] == ["70", "yes |"]
    drawn = rows["drawn from words, known emoji: nearest is right, top 1"]
    assert drawn == ["38.0 (30.6 to 46.0)", "60.0 (52.0 to 67.5)", "65", "no |"]
    # what was not measured is no zero
    assert rows["gender changed as told"] == ["-", "-", "50", " |"]


def test_intervals_of_shares():
    # Brown, Cai and DasGupta 2001: 10 of 100 gives 5.52 to 17.44
    assert wilson(10.0, 100) == pytest.approx((5.52, 17.44), abs=0.01)
    assert wilson(100.0, 50)[1] == pytest.approx(100.0)


def test_the_autoencoder_keeps_nearly_all():
    judge, autoencoder = str(BUNDLED_NANO / "judge"), BUNDLED_NANO / "decoder" / "vae"
    assert 90 < measure_reconstruction("vendor", judge=judge, autoencoder=autoencoder) < 100
