"""`seed eval paper` from end to end: made-up results in a folder, and measurements
that it starts itself.
"""

import json

import pytest
from typer.testing import CliRunner

from seedcli.benchmarks.paper_numbers import read_paper_numbers
from seedcli.cli.eval_paper import show_card
from seedcli.cli.main import app
from seedcli.console import Reporter
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.workflows.evaluate import paper as eval_paper

RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean")
SQUASH = {"image_size_px": 224, "geometry": "squash", "interpolation": "bilinear"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    eval_paper._absent_roles.cache_clear()
    return tmp_path


def seed(*arguments: object):
    return CliRunner().invoke(app, ["eval", "paper", *map(str, arguments)])


def card_of(*arguments: object):
    outcome = seed(*arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def write_result(folder, name, **result):
    (folder / name).mkdir(parents=True)
    base = {
        "split": "test",
        "model": "seed-llama-8b-sft",
        "fingerprint": None,
        "published_split": True,
        "folder": "where it was made",
    }
    (folder / name / "result.json").write_text(json.dumps(base | result))


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    caption = {
        "prompt": "Please provide an accurate and concise description of the given image.",
        "template": "vicuna",
        "shots": {"num": 0},
        "decoding": {"temperature": 0.0, "num_beams": 5},
        "preprocessing": SQUASH,
    }
    write_result(
        folder, "caption", benchmark="caption", dataset="coco", num_images=5000, settings=caption,
        scoring={"words": "ptb"},
        metrics={"cider": 123.9}, intervals={"cider": [122.0, 125.8]},
    )  # fmt: skip
    vqa = caption | {"by": "generation", "prompt": "{question} Answer briefly."}
    write_result(
        folder, "deep/vqa", benchmark="vqa", dataset="okvqa", split="val", settings=vqa,
        metrics={"accuracy": 37.1},
        intervals={"accuracy": [36.0, 38.0]},
    )  # fmt: skip
    memory = {
        "reranking": "none",
        "max_text_tokens": 35,
        "dtype": "float32",
        "preprocessing": SQUASH | {"interpolation": "bicubic", "mean": [0.5]},
    }
    write_result(
        folder, "retrieval", benchmark="retrieval", dataset="flickr30k", model="seed-2",
        num_images=1000, feature="codes", query=31,
        settings=memory, metrics=dict.fromkeys(RECALLS, 85.0),
        intervals={name: [84.0, 86.0] for name in RECALLS},
    )  # fmt: skip
    write_result(
        folder, "nano", benchmark="retrieval", dataset="emoji", split="unseen", model="seed-nano",
        feature="causal", query=31,
        fingerprint=describe(locate("seed-nano")).fingerprint, metrics={"i2t_r10": 35.0},
        intervals={"i2t_r10": [28.0, 42.0]},
        chance={"i2t_r10": 5.6}, published_split=None,
    )  # fmt: skip
    return folder


def rows_of(card, **wanted):
    return [row for row in card["rows"] if all(row[key] == value for key, value in wanted.items())]


def test_results_stand_beside_what_was_published(results, tmp_path):
    card = card_of("--results", results, "-o", tmp_path / "out")
    assert card["num_results"] == 4 and not card["failed"]
    (cider,) = rows_of(card, metric="cider", dataset="coco")
    assert (cider["verdict"], cider["published"], cider["mark"], cider["interval"]) == (
        "within",
        124.5,
        "T",
        [122.0, 125.8],
    )
    assert cider["folder"] == str(results / "caption") and "prompt" in cider["assumed"]
    (okvqa,) = rows_of(card, dataset="okvqa")
    assert okvqa["verdict"] == "not comparable"
    published = (
        "{question} Please provide an accurate answer consisting of only one word or phrase."
    )
    assert okvqa["reasons"] == [f"prompt is {{question}} Answer briefly., published: {published}"]
    first, *others = rows_of(card, model="SEED-2, causal codes", dataset="flickr30k")
    assert (first["verdict"], first["reasons"], first["mark"]) == (
        "unverified",
        ["it would be: within"],
        "M",
    )
    assert {row["verdict"] for row in others} == {"unverified"}
    (nano,) = [
        row for row in rows_of(card, dataset="emoji", split="unseen") if row["ours"] is not None
    ]
    assert (nano["table"], nano["published"], nano["chance"]) == ("Retrieval, zero-shot", None, 5.6)
    assert (nano["verdict"], nano["reasons"]) == ("not comparable", ["trained on emoji"])
    (vqav2,) = rows_of(card, dataset="vqav2", model="SEED-LLaMA-I 8B")
    assert (
        vqav2["verdict"] == "not run"
        and "seed models pull seed-llama-8b-sft" in vqav2["reasons"][0]
    )
    assert (
        vqav2["command"]
        == "seed eval vqa --dataset vqav2 --model seed-llama-8b-sft --data-root DIR"
    )
    assert card["verdicts"]["within"] == 1 and sum(card["verdicts"].values()) == len(card["rows"])


def test_page_and_plot(results, tmp_path):
    card = card_of("--results", results, "-o", tmp_path / "out")
    assert card["files"] == [
        str(tmp_path / "out" / name) for name in ("paper.json", "paper.md", "paper.png")
    ]
    assert json.loads((tmp_path / "out" / "paper.json").read_text()) == card
    assert (tmp_path / "out" / "paper.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "paper.md").read_text()
    assert (
        "| cider | coco test | SEED-LLaMA-I 8B | 124.5 [T] | 123.9 | 122.0 .. 125.8 | within |"
        in page
    )
    assert (
        "| text recall at 1 .. mean recall | coco test | SEED-1, causal codes | "
        "65.7 88.1 93.8 52.5 78.0 86.0 77.4 [P] |"
    ) in page
    assert "`seed eval vqa --dataset vqav2 --model seed-llama-8b-sft --data-root DIR`" in page
    assert "* [M]: from memory, unverified" in page
    assert all(
        line.count("|") - line.count("\\|") == 8
        for line in page.splitlines()
        if line.startswith("|")
    )


def test_a_page_for_people(results, tmp_path):
    page = tmp_path / "card.html"
    assert card_of("--results", results, "--page", page)["files"] == [str(page)]
    text = page.read_text()
    assert "<td>122.0 .. 125.8</td><td>within</td><td></td>" in text
    assert "<td>not comparable</td><td>trained on emoji</td>" in text
    assert "seed eval vqa --dataset vqav2" in text and text.count("<img") == 1
    refused = seed("--results", results, "--page", tmp_path)
    assert refused.exit_code == 3 and "is a folder" in refused.stderr


def test_what_a_person_sees(results):
    card = card_of("--results", results)
    shown = show_card(card, everything=False).splitlines()
    assert shown[0].startswith(f"4 results in {results}; numbers: ")
    place = next(number for number, line in enumerate(shown) if line.startswith("cider"))
    assert " ".join(shown[place].split()) == "cider 124.5 [T] 123.9 122.0 .. 125.8 within"
    assert shown[place - 1] == "  coco test, SEED-LLaMA-I 8B:"
    figures = [line for line in shown if " .. " in line]
    assert len(figures) == 10 and max(map(len, figures)) <= 80
    assert any(line.startswith("picture recall at 10 ") for line in figures)
    assert "    trained on emoji" in shown
    assert any(
        line.startswith("assumed, since it was not published: SEED-LLaMA-I 8B, cider: prompt")
        for line in shown
    )

    assert not any(line.endswith("not run") for line in shown)
    waits = "  seed-llama-8b-sft on coco, flickr30k, vqav2, vizwiz, seed-bench, msvd, msrvtt: "
    (told,) = [line for line in shown if line.startswith(waits)]
    assert told.endswith("needs seed models pull seed-llama-8b-sft and --data-root DIR")
    every = show_card(card, everything=True).splitlines()
    assert sum(line.endswith("not run") for line in every) > 20


def test_it_opens_with_what_to_type_where_nothing_was_measured(tmp_path):
    shown = show_card(card_of(), everything=False).splitlines()
    assert len(shown) < 15
    assert any("seed eval paper --model seed-nano --run" in line for line in shown)


def test_only_a_model_or_a_set(results):
    card = card_of("--results", results, "--model", "seed-2")
    assert card["num_results"] == 1
    assert rows_of(card, metric="cider")[0]["verdict"] == "not run"
    card = card_of("--results", results, "--dataset", "okvqa", "--dataset", "vizwiz")
    assert {row["dataset"] for row in card["rows"]} == {"okvqa", "vizwiz"}


def test_results_of_other_weights_and_damaged_ones_are_left_out(results):
    content = json.loads((results / "nano" / "result.json").read_text())
    (results / "nano" / "result.json").write_text(
        json.dumps(content | {"fingerprint": "0123456789abcdef"})
    )
    (results / "deep" / "vqa" / "result.json").write_text('{"metrics": [1]}')
    outcome = seed("--results", results, "--model", "seed-nano", "--json")
    assert "is of other weights of seed-nano (0123456789abcdef, now" in outcome.stderr
    assert "result.json is no result of a benchmark" in outcome.stderr
    assert json.loads(outcome.stdout)["num_results"] == 0


def test_answers_of_another_language_model_with_the_same_eyes_are_left_out(results):
    content = json.loads((results / "nano" / "result.json").read_text())
    other = {"settings": {"language_model": {"name": "seed-nano", "weights": "0123456789abcdef"}}}
    (results / "nano" / "result.json").write_text(json.dumps(content | other))
    outcome = seed("--results", results, "--model", "seed-nano", "--json")
    assert "is of other weights of seed-nano (0123456789abcdef, now" in outcome.stderr
    assert json.loads(outcome.stdout)["num_results"] == 0


def test_nothing_measured_yet_is_no_error(tmp_path):
    card = card_of("--dataset", "coco", "-o", tmp_path / "out")
    assert card["verdicts"] == {"not run": len(card["rows"])}
    assert card["files"] == [str(tmp_path / "out" / name) for name in ("paper.json", "paper.md")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--results", "nowhere"), 3, "no folder at nowhere"),
        (("--dataset", "cocco"), 2, "did you mean coco?"),
        (("--model", "seed-nanoo"), 2, "did you mean seed-nano?"),
        (("--model", "./nowhere"), 3, "no folder at nowhere"),
        (("-o", "file"), 3, "file is no folder"),
    ],
)
def test_wrong_inputs(arguments, code, words, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = seed(*arguments)
    assert outcome.exit_code == code
    assert words in outcome.stderr


def test_run_measures_what_can_be_measured_here(tiny_tokenizer_folder, tmp_path, monkeypatch):
    numbers = read_paper_numbers()
    retrieval = tuple(each for each in numbers.own if each.name == "retrieval-emoji-unseen-codes")
    monkeypatch.setattr(
        eval_paper, "read_paper_numbers", lambda: type(numbers)(numbers.published, retrieval)
    )
    command = (
        "--model",
        tiny_tokenizer_folder,
        "--results",
        tmp_path / "results",
        "--dataset",
        "emoji",
        "--run",
    )
    outcome = seed(*command, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    card = json.loads(outcome.stdout)
    assert {row["metric"] for row in card["rows"]} == set(RECALLS)
    assert all(
        row["reasons"] == ["nothing was published on emoji, 177 images"]
        and row["interval"]
        and row["chance"]
        for row in card["rows"]
    )
    made = tmp_path / "results" / "tiny-retrieval-emoji-unseen-codes" / "result.json"
    before = made.stat().st_mtime_ns
    again = json.loads(seed(*command, "--json").stdout)
    assert again["rows"] == card["rows"] and made.stat().st_mtime_ns == before


def test_a_part_of_the_samples_is_no_measurement_yet(results):
    def missing_commands():
        scope = eval_paper._scope(None, ("flickr30k",))
        return {
            (job.model, job.measurement.name)
            for job in scope.jobs(list(eval_paper.read_results(results, Reporter())))
        }

    job = ("seed-2", "retrieval-flickr30k-test-codes")
    assert job not in missing_commands()
    content = json.loads((results / "retrieval" / "result.json").read_text())
    (results / "retrieval" / "result.json").write_text(json.dumps(content | {"num_images": 50}))
    assert job in missing_commands()


def test_a_measurement_that_fails_is_named(tiny_tokenizer_folder, tmp_path, monkeypatch):
    (tmp_path / "results" / "tiny-retrieval-emoji-unseen-codes").mkdir(parents=True)
    (tmp_path / "results" / "tiny-retrieval-emoji-unseen-codes" / "thesis.tex").write_text("")
    numbers = read_paper_numbers()
    retrieval = tuple(each for each in numbers.own if each.name == "retrieval-emoji-unseen-codes")
    monkeypatch.setattr(eval_paper, "read_paper_numbers", lambda: type(numbers)((), retrieval))
    outcome = seed(
        "--model", tiny_tokenizer_folder, "--results", tmp_path / "results", "--run", "--json"
    )
    assert outcome.exit_code == 4
    assert "1 of the measurements failed:\n  seed eval retrieval" in outcome.stderr
    card = json.loads(outcome.stdout)
    assert "holds other things: thesis.tex" in card["rows"][0]["reasons"][0]
    assert card["rows"][0]["verdict"] == "not run"


def test_without_weights_and_data_nothing_is_started(tmp_path):
    (tmp_path / "data" / "coco").mkdir(parents=True)
    outcome = seed(
        "--model",
        "seed-2",
        "--run",
        "--data-root",
        tmp_path / "data",
        "--dataset",
        "coco",
        "--json",
    )
    assert outcome.exit_code == 0, outcome.stderr
    card = json.loads(outcome.stdout)
    assert not card["failed"] and not (tmp_path / "runs").exists()
    row = rows_of(card, model="SEED-2, causal codes")[0]
    assert row["reasons"] == ["weights vit-g, quantizer, bert-vocabulary: seed models pull seed-2"]
    assert row["command"].endswith(f"--data-root {tmp_path / 'data'}")
    assert "left out: seed eval retrieval" in outcome.stderr
