"""`seed eval clip-similarity` from end to end, on tiny weights."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.data.images.facts import read_picture_facts
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.workflows.evaluate import judge as eval_judge
from seedcli.workflows.evaluate.caption_codes import CaptionDrawer
from seedcli.workflows.evaluate.pictures import EvalPictures, caption_pairs
from seedcli.workflows.evaluate.requests import CaptionSettings
from seedcli.workflows.sampling import SamplingOptions
from tests.set_files import write_captions


@pytest.fixture
def caption_file(tmp_path):
    return write_captions(
        tmp_path / "mine.json",
        [[f"the red bus {number} <b>waits</b>.", "never asked"] for number in range(5)],
    )


@pytest.fixture
def run(caption_file, tiny_judge_folder, tmp_path):
    def call(*arguments, output="run", code=0):
        words = [
            "eval",
            "clip-similarity",
            "--dataset",
            caption_file,
            "--judge",
            tiny_judge_folder,
            "--picture-steps",
            2,
        ]
        words += ["-b", 2, "-o", tmp_path / output, "--json", *arguments]
        outcome = CliRunner().invoke(app, list(map(str, words)))
        assert outcome.exit_code == code, outcome.stderr
        return json.loads(outcome.stdout) if code == 0 else outcome.stderr

    return call


def lines(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_picture_to_codes_to_picture(run, tiny_model_folder, tmp_path):
    page = tmp_path / "page.html"
    result = run("--task", "image", "--model", tiny_model_folder, "--ceiling", "--page", page)
    assert page.read_text().count("data:image/webp") == 3 * 5
    expected = {
        "benchmark": "clip-similarity",
        "dataset": "mine",
        "split": "test",
        "num_images": 5,
        "num_drawn": 5,
        "model": "tiny",
    }
    assert {key: result[key] for key in (*expected, "task", "published_split")} == expected | {
        "task": "image",
        "published_split": None,
    }
    assert result["fingerprint"] == load_seed_model(locate(str(tiny_model_folder))).fingerprint
    names = {"clip_i", "clip_t", "truth_clip_t", "valid", "ceiling_clip_i", "ceiling_clip_t"}
    assert set(result["metrics"]) == set(result["intervals"]) == names
    assert set(result["chance"]) == {"clip_i", "clip_t", "truth_clip_t"}
    assert result["metrics"]["valid"] == 100
    assert all(
        low - 1e-3 <= result["metrics"][name] <= high + 1e-3
        for name, (low, high) in result["intervals"].items()
    )
    assert result["judge"]["name"] == "tiny-judge" and len(result["judge"]["weights"]) == 16
    assert (
        result["settings"]["decoder"]["steps"] == 2 and "language_model" not in result["settings"]
    )

    first = lines(tmp_path / "run")[0]
    facts = read_picture_facts(tmp_path / "run" / first["picture"])
    assert facts["codes"] == first["codes"] and facts["fingerprint"] == result["fingerprint"]
    assert first["caption"] == "the red bus 0 <b>waits</b>." and first["source"] == "0.png"
    page = (tmp_path / "run" / "index.html").read_text()
    assert "&lt;b&gt;waits" in page and "<b>" not in page
    assert page.count("<img") == 15
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result


def test_codes_are_those_of_seed_tokenize(run, tiny_model_folder, caption_file, tmp_path):
    run("--task", "image", "--model", tiny_model_folder, "--limit", 1)
    done = CliRunner().invoke(
        app,
        [
            "tokenize",
            str(caption_file.parent / "0.png"),
            "--model",
            str(tiny_model_folder),
            "--json",
        ],
    )
    assert lines(tmp_path / "run")[0]["codes"] == json.loads(done.stdout)["codes"]


def test_caption_to_codes_to_picture(run, tiny_llm_folder, tmp_path):
    result = run("--model", tiny_llm_folder, "--prompt", "caption", "--beams", 2)
    assert (result["model"], result["num_drawn"], result["metrics"]["valid"]) == (
        "tiny-llm",
        5,
        100,
    )
    assert result["settings"]["prompt"] == {"kind": "caption", "text": "<s>{caption}<img>"}
    decoding = result["settings"]["decoding"]
    assert (decoding["num_beams"], decoding["temperature"], decoding["max_new_tokens"]) == (
        2,
        0,
        33,
    )
    assert {line["words"] for line in lines(tmp_path / "run")} == {""}
    assert all(len(line["codes"]) == 32 for line in lines(tmp_path / "run"))


def test_a_model_of_conversations_is_sent_a_request(run, tiny_llm_folder, monkeypatch):
    asked = []
    ids = CaptionDrawer._ids
    monkeypatch.setattr(
        CaptionDrawer,
        "_ids",
        lambda self, caption: asked.append((self, ids(self, caption))) or asked[-1][1],
    )
    result = run("--model", tiny_llm_folder, "--limit", 2, "--beams", 1)
    assert result["settings"]["prompt"] == {
        "kind": "request",
        "text": "Draw a picture of {caption}.",
        "template": "vicuna",
    }
    assert result["settings"]["decoding"]["max_new_tokens"] == 120
    drawer, prompt = asked[0]
    text = drawer.llm.text_tokenizer.decode(prompt, skip_special_tokens=True)
    assert "USER: Draw a picture of the red bus 0 <b>waits</b>." in text and text.rstrip().endswith(
        "ASSISTANT:"
    )
    assert result["metrics"]["valid"] == 100

    result = run(
        "--model",
        tiny_llm_folder,
        "--limit",
        1,
        "--beams",
        1,
        "--request",
        "Paint {thing}, please.",
        output="other",
    )
    assert "Paint the red bus" not in result["settings"]["prompt"]["text"]
    assert "USER: Paint a the red bus 0 <b>waits</b>, please." in drawer.llm.text_tokenizer.decode(
        asked[-1][1], skip_special_tokens=True
    )


def test_pictures_move_away_from_what_is_drawn_unasked(run, tiny_llm_folder, tmp_path):
    options = (
        "--model",
        tiny_llm_folder,
        "--limit",
        1,
        "--beams",
        1,
        "--prompt",
        "caption",
        "--picture-guidance",
        5,
    )
    result = run(*options, "--negative", "unconditional")
    assert result["settings"]["negative"] == "unconditional"
    facts = read_picture_facts(tmp_path / "run" / "pictures" / "000000.png")
    drawer = CaptionDrawer(
        CaptionSettings(
            model=str(tiny_llm_folder),
            prompt="caption",
            sampling=SamplingOptions(num_beams=1),
        )
    )
    assert tuple(facts["negative"]) == drawer.llm.draw_unasked(drawer.sampling)
    run(*options, output="plain")
    pixels = [
        np.asarray(Image.open(tmp_path / folder / "pictures" / "000000.png"))
        for folder in ("run", "plain")
    ]
    assert not np.array_equal(*pixels)
    assert lines(tmp_path / "run")[0]["codes"] == lines(tmp_path / "plain")[0]["codes"]


def test_without_the_grammar_answers_may_hold_no_image(run, tiny_llm_folder, tmp_path):
    result = run("--model", tiny_llm_folder, "--prompt", "caption", "--beams", 1, "--unconstrained")
    assert (
        result["settings"]["constrained"] is False
        and result["settings"]["decoding"]["max_new_tokens"] == 120
    )
    # a language model with random weights never writes exactly 32 codes
    assert result["metrics"]["valid"] == 0 and result["num_drawn"] == 0
    assert (
        result["metrics"]["clip_i"] is None
        and result["intervals"]["clip_i"] is None
        and result["chance"] == {}
    )
    assert not (tmp_path / "run" / "pictures").exists()
    assert (tmp_path / "run" / "index.html").read_text().count("no picture") == 5


def test_an_interrupted_run_goes_on_and_ends_the_same(run, tiny_llm_folder, monkeypatch, tmp_path):
    options = ("--model", tiny_llm_folder, "--temperature", 1.2, "--beams", 1)
    undisturbed = run(*options)
    paint, calls = EvalPictures.paint, []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return paint(self, *arguments, **options)

    monkeypatch.setattr(EvalPictures, "paint", interrupted)
    assert "2 of 5 pictures are answered and kept" in run(*options, output="cut", code=130)
    resumed = run(*options, output="cut")
    assert resumed["num_reused"] == 2
    assert resumed["metrics"] == undisturbed["metrics"]
    (judged,) = (path.name for path in (tmp_path / "run").glob("judge-tiny-judge-*"))
    for name in ("samples.jsonl", f"{judged}/samples.jsonl", "pictures/000003.png"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_a_limit_draws_the_first_and_another_judge_costs_no_drawing(
    run, tiny_model_folder, tiny_judge_folder, monkeypatch, tmp_path
):
    options = ("--task", "image", "--model", tiny_model_folder)
    assert run(*options, "--limit", 3)["num_images"] == 3
    whole = run(*options)
    assert (whole["num_images"], whole["num_reused"]) == (5, 3)
    other = shutil.copytree(tiny_judge_folder, tmp_path / "other-judge")

    def no_drawing(*_, **__):
        raise AssertionError("drawn again")

    monkeypatch.setattr(EvalPictures, "paint", no_drawing)
    again = run(*options, "--judge", other)
    assert again["judge"]["name"] == "other-judge" and again["metrics"] == whole["metrics"]
    assert len(list((tmp_path / "run").glob("judge-*/samples.jsonl"))) == 2


def test_sampled_beams_do_not_depend_on_the_batch(tiny_llm_folder):
    settings = CaptionSettings(
        model=str(tiny_llm_folder),
        sampling=SamplingOptions(temperature=1.0, num_beams=2, max_new_tokens=50),
        device="cpu",
    )
    drawer = CaptionDrawer(settings)
    captions = {"a": "a small dog", "b": "the red bus waits near the bridge"}
    assert drawer.codes(captions)[1] == drawer.codes({"b": captions["b"]})[0]


@pytest.mark.parametrize("prompt", ["request", "caption"])
def test_guided_codes_are_others_and_do_not_depend_on_the_batch(tiny_llm_folder, prompt):
    plain = CaptionSettings(
        model=str(tiny_llm_folder),
        prompt=prompt,
        sampling=SamplingOptions(num_beams=1),
        device="cpu",
    )
    guided = dataclasses.replace(plain, sampling=SamplingOptions(num_beams=1, code_guidance=5.0))
    captions = {"a": "a small dog", "b": "the red bus waits near the bridge"}
    drawer = CaptionDrawer(guided)
    drawn = drawer.codes(captions)
    assert drawer.settings()["decoding"]["code_guidance"] == 5.0
    assert drawn[1] == drawer.codes({"b": captions["b"]})[0]
    unguided = CaptionDrawer(plain)
    assert unguided.settings()["decoding"]["code_guidance"] == 1.0
    assert [one["codes"] for one in drawn] != [one["codes"] for one in unguided.codes(captions)]


def test_emoji_are_judged_by_one_vendor_and_in_subsets(run, tiny_model_folder, tmp_path):
    result = run(
        "--task", "image", "--model", tiny_model_folder, "--dataset", "emoji", "--limit", 4
    )
    assert (result["dataset"], result["split"], result["num_images"]) == ("emoji", "unseen", 4)
    assert (
        set(result["subsets"]) <= {"no_flags", "no_flags_no_twins"}
        and result["subsets"]["no_flags"]["num_images"] == 4
    )
    assert all("google" in line["source"] for line in lines(tmp_path / "run"))


def test_emoji_are_asked_for_as_nano_was_taught(tiny_llm_folder):
    assert (
        CaptionDrawer(CaptionSettings(model=str(tiny_llm_folder)), emoji=True).request
        == "Draw {thing}."
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--task", "image", "--beams", 2], 2, "no effect on --task image"),
        (["--task", "image", "--negative", "unconditional"], 2, "no effect on --task image"),
        (
            ["--negative", "unconditional", "--picture-guidance", 1],
            2,
            "no effect with picture guidance 1",
        ),
        (["--request", "Draw it."], 2, "no place for the caption"),
        (["--request", "Draw {caption}.", "--prompt", "caption"], 2, "caption alone"),
        (["--top-p", 0], 2, "top_p is 0.0"),
        (["--judge", "ViT-L-14"], 3, "names no weights"),
        (["--dataset", "no-such-set"], 2, "no-such-set"),
        (["--prompt", "caption", "--max-new-tokens", 20], 2, "an image takes"),
        (["--model", "/no/such/folder"], 3, "no folder at /no/such/folder"),
    ],
)
def test_wrong_inputs(run, tiny_llm_folder, arguments, code, said):
    assert said in run("--model", tiny_llm_folder, *arguments, code=code)


def test_other_settings_and_broken_pictures_are_refused(
    run, tiny_model_folder, caption_file, tmp_path
):
    options = ("--task", "image", "--model", tiny_model_folder)
    run(*options)
    assert "seed was 0, is 1" in run(*options, "--seed", 1, code=3)
    (tmp_path / "run" / "pictures" / "000002.png").unlink()
    for judged in (tmp_path / "run").glob("judge-*"):
        shutil.rmtree(judged)
    assert "000002.png" in run(*options, code=3)
    (caption_file.parent / "2.png").write_bytes(b"not a picture")
    assert "2.png" in run(*options, output="new", code=3)


def test_a_judge_that_trained_the_model_is_named(monkeypatch, tiny_judge_folder):
    heard = []

    class Hearing:
        def warn(self, text):
            heard.append(text)

    published = EvalPictures(locate("seed-2"), device="cpu")
    monkeypatch.setattr(eval_judge, "load_judge", lambda name, device: name)
    options = {"emoji": False, "device": "cpu", "reporter": Hearing()}
    eval_judge.find_judge("ViT-H-14/laion2b_s32b_b79k", published, **options)
    assert "trained towards ViT-H-14" in heard[0]
    assert eval_judge.find_judge(None, published, **options).clip == "ViT-L-14/openai"
    assert len(heard) == 1


def test_the_first_caption_goes_with_each_picture(caption_file):
    from seedcli.benchmarks.retrieval_sets import load_retrieval_set

    pairs = caption_pairs(load_retrieval_set(str(caption_file)))
    assert list(pairs) == [f"{number:06d}" for number in range(5)]
    assert pairs["000003"].caption == "the red bus 3 <b>waits</b>."
