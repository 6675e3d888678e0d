"""The first K codes of an image, completed by a language model: what is kept, what is
drawn, what is refused.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seedcli.console import Reporter
from seedcli.data.images.facts import read_picture_facts
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.locate import locate
from seedcli.models.weights.locate_llm import locate_llm
from seedcli.workflows.detokenize.draw import draw
from seedcli.workflows.detokenize.fill import complete_codes, locate_filling_llm, prefix_embedding
from seedcli.workflows.detokenize.request import DetokenizeRequest
from seedcli.workflows.pictures import SeedTokenizer
from tests.workflows.detokenize.quick_runs import Listener, as_lines, make_codes, plan


@pytest.fixture
def settings(tiny_model_folder, tiny_llm_folder):
    def make(**replaced):
        defaults = {
            "model": str(tiny_model_folder),
            "device": "cpu",
            "steps": 1,
            "guidance": 2.0,
            "batch_size": 2,
            "codes_only": 8,
            "fill": "llm",
        }
        return DetokenizeRequest(**defaults | {"llm": str(tiny_llm_folder)} | replaced)

    return make


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_the_first_codes_stay_and_rows_do_not_depend_on_each_other(tiny_llm):
    images = [make_codes(index) for index in range(3)]
    completed = complete_codes(tiny_llm, images, 8, seeds=[5, 6, 7])
    assert [len(codes) for codes in completed] == [32] * 3
    assert all(
        codes[:8] == tuple(image[:8]) and codes != tuple(image)
        for codes, image in zip(completed, images, strict=True)
    )
    assert complete_codes(tiny_llm, images[1:2], 8, seeds=[6]) == completed[1:2]
    assert complete_codes(tiny_llm, images[1:2], 8, seeds=[60]) != completed[1:2]
    assert complete_codes(tiny_llm, images, 32, seeds=[0] * 3) == [tuple(image) for image in images]
    (unasked,) = complete_codes(tiny_llm, images[:1], 0, seeds=[5])
    assert len(unasked) == 32 and unasked != completed[0]


def test_advice_of_the_folder_decides_how_codes_are_chosen(tiny_llm):
    greedy = dataclasses.replace(
        tiny_llm.facts, sampling={"temperature": 0.0, "num_beams": 3, "max_new_tokens": 5}
    )
    speaker = type(tiny_llm)(tiny_llm.model, tiny_llm.text_tokenizer, tiny_llm.vocabulary, greedy)
    assert complete_codes(speaker, [make_codes()], 4, seeds=[1]) == complete_codes(
        speaker, [make_codes()], 4, seeds=[2]
    )


def test_pictures_are_those_of_the_completed_codes(settings, tiny_model_folder, tmp_path):
    listener = Listener()
    planned = plan(
        [],
        tmp_path / "out",
        settings(seed=3),
        stdin=as_lines(make_codes(1), make_codes(2), make_codes(3)),
    )
    results = list(draw(planned, reporter=listener))
    assert [result["codes"] for result in results] == [make_codes(1), make_codes(2), make_codes(3)]
    assert {
        (result["codes_only"], result["fill"], result["llm"], result["trained_with_prefixes"])
        for result in results
    } == {(8, "llm", "tiny-llm", False)}
    assert any("tiny-llm completes the first 8 codes" in said for said in listener.said)
    assert any("not trained on prefixes" in said for said in listener.said)
    for number, result in enumerate(results):
        assert result["completed_codes"][:8] == result["codes"][:8]
        assert (
            read_picture_facts(Path(result["output"]))["completed_codes"]
            == result["completed_codes"]
        )
        plain = DetokenizeRequest(
            device="cpu", model=str(tiny_model_folder), steps=1, guidance=2.0, seed=3 + number
        )
        [again] = draw(
            plan([], tmp_path / f"{number}.png", plain, stdin=as_lines(result["completed_codes"])),
        )
        assert np.abs(pixels(again["output"]) - pixels(result["output"])).max() <= 1


def test_a_resumed_run_keeps_what_the_same_model_completed(settings, tiny_llm_folder, tmp_path):
    lines = [make_codes(1), make_codes(2)]
    before = list(draw(plan([], tmp_path / "out", settings(), stdin=as_lines(*lines))))
    kept = list(draw(plan([], tmp_path / "out", settings(resume=True), stdin=as_lines(*lines))))
    assert kept == [result | {"kept": True} for result in before]
    other = tmp_path / "other-llm"
    shutil.copytree(tiny_llm_folder, other)
    (other / "note.txt").write_text("trained for longer")
    for changes in ({"codes_only": 9}, {"fill": "mean", "llm": None}, {"llm": str(other)}):
        planned = plan(
            [], tmp_path / "out", settings(resume=True, **changes), stdin=as_lines(*lines)
        )
        assert not any(picture.kept for picture in planned.pictures), changes


def test_the_language_model_beside_the_tokenizer_is_the_default(
    tiny_model_folder, tiny_llm_folder, tmp_path
):
    with pytest.raises(
        DataError, match="the language model of .*holds no language model"
    ) as caught:
        locate_filling_llm(None, str(tiny_model_folder))
    assert caught.value.remedy.startswith("--llm")
    with pytest.raises(UsageError, match="several") as caught:
        locate_filling_llm(None, "seed-2")
    assert "--llm seed-llama-8b-sft" in caught.value.remedy
    with pytest.raises(UsageError, match="--llm nonsense"):
        locate_filling_llm("nonsense", str(tiny_model_folder))
    whole = tmp_path / "whole"
    shutil.copytree(tiny_model_folder, whole)
    shutil.copytree(tiny_llm_folder, whole / "llm")
    assert locate_filling_llm(None, str(whole)).folder == whole / "llm"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"visual_fingerprint": "f00d"}, "trained on codes of fingerprint f00d"),
        ({"num_codes": 512}, "32 codes out of 512, tiny makes 32 out of 64"),
    ],
)
def test_a_language_model_of_other_codes_is_refused(
    settings, tiny_llm_folder, tmp_path, change, says
):
    other = tmp_path / "other"
    shutil.copytree(tiny_llm_folder, other)
    facts = json.loads((other / "seed.json").read_text())
    (other / "seed.json").write_text(json.dumps(facts | change))
    with pytest.raises(DataError, match=says) as caught:
        plan([], tmp_path / "out", settings(llm=str(other)), stdin=as_lines(make_codes()))
    assert "--llm" in caught.value.remedy
    if "visual_fingerprint" in change:
        listener = Listener()
        plan(
            [],
            tmp_path / "out",
            settings(llm=str(other), force=True),
            stdin=as_lines(make_codes()),
            reporter=listener,
        )
        assert "f00d" in listener.said[0]


def test_bilateral_codes_have_no_prefixes_and_that_is_said(tiny_model_folder):
    tokenizer = SeedTokenizer(locate(str(tiny_model_folder)), device="cpu")
    config = dataclasses.replace(
        tokenizer.config, qformer=dataclasses.replace(tokenizer.config.qformer, mask="bilateral")
    )
    listener = Listener()
    tokenizer.facts = dataclasses.replace(tokenizer.facts, config=config)
    prefix_embedding(tokenizer, 4, llm=None, reporter=listener)
    assert any("bilateral" in said for said in listener.said)


def test_completed_codes_come_back_with_their_embeddings(tiny_model_folder, tiny_llm_folder):
    tokenizer = SeedTokenizer(locate(str(tiny_model_folder)), device="cpu")
    llm = locate_llm(str(tiny_llm_folder))
    embed = prefix_embedding(tokenizer, 4, llm=llm, device="cpu", reporter=Reporter())
    embeddings, completed = embed([make_codes(1), make_codes(2)], [1, 2])
    assert torch.equal(embeddings, tokenizer.model.decode(torch.tensor(completed)))
    assert [list(row[:4]) for row in completed] == [make_codes(1)[:4], make_codes(2)[:4]]
