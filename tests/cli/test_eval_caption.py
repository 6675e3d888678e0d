"""`seed eval caption` from end to end, with a language model of two layers."""

import json

import pytest
from typer.testing import CliRunner

from seedcli.benchmarks.caption import score_captions
from seedcli.benchmarks.caption_sets import emoji_captions
from seedcli.cli.eval_caption import _show_caption
from seedcli.cli.main import app
from seedcli.data.documents.conversations import read_prompts
from seedcli.errors import DataError, UsageError
from seedcli.models.language.generate import SeedLlama
from seedcli.workflows.evaluate import asking as eval_asking
from seedcli.workflows.evaluate.caption import candidate_names
from seedcli.workflows.evaluate.requests import AskSettings, CaptionRequest
from seedcli.workflows.evaluate.run import measure
from tests.set_files import write_captions, write_noise

CAPTIONS = [
    ["a red bus", "the bus waits near a bridge"],
    ["a small dog runs"],
    ["12 birds above a green field", "birds"],
    ["a dog", "a cat"],
]


@pytest.fixture
def caption_file(tmp_path):
    return write_captions(
        tmp_path / "mine.json", [*CAPTIONS, ["a field"], ["a bridge"], ["the bus"]], train=3
    )


@pytest.fixture
def run(tiny_llm_folder, caption_file, tmp_path):
    def start(folder="run", dataset=None, **changes):
        ask = AskSettings(
            **{"model": str(tiny_llm_folder), "device": "cpu", "max_new_tokens": 10}
            | changes.pop("ask", {})
        )
        request = CaptionRequest(
            dataset=dataset or str(caption_file), ask=ask, output=tmp_path / folder, **changes
        )
        return measure(request)

    return start


def lines_of(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_the_command(tiny_llm_folder, caption_file, tmp_path):
    arguments = [
        "eval",
        "caption",
        "--model",
        str(tiny_llm_folder),
        "--dataset",
        str(caption_file),
        "--max-new-tokens",
        "10",
        "--page",
        str(tmp_path / "page.html"),
    ]
    outcome = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "run"), "--json"])
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article") == 4 and page.count("data:image/webp") == 4
    assert f"<td>{result['metrics']['cider']:.2f}</td>" in page and "Reference:" in page
    assert (result["benchmark"], result["dataset"], result["split"], result["num_images"],
            result["num_captions"]) == (
        "caption", "mine", "test", 4, 7
    )  # fmt: skip
    assert list(result["metrics"]) == ["cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"]
    assert set(result["intervals"]) == {"cider", "rouge_l"}
    settings = result["settings"]
    assert settings["prompt"] == read_prompts()["question"]["describe_image"] and settings[
        "shots"
    ] == {"num": 0}
    assert settings["decoding"] == {"temperature": 0.0, "num_beams": 5, "max_new_tokens": 10}
    assert (
        result["scoring"] == {"cut": "phrase", "words": "words"}
        and result["published_split"] is None
    )
    assert "tiny-llm answers" in outcome.stderr
    lines = lines_of(tmp_path / "run")
    scored = score_captions(
        [line["answer"].splitlines()[0].rstrip(". ") if line["answer"] else "" for line in lines],
        CAPTIONS,
    )
    # rounded to four digits
    assert result["metrics"]["cider"] == pytest.approx(scored.metrics["cider"], abs=1e-3)


def test_right_captions_score_and_another_cut_asks_nobody(run, tmp_path, monkeypatch):
    said = [texts[0] + ".\nmore words" for texts in CAPTIONS]
    answers = iter(said)
    monkeypatch.setattr(
        eval_asking.AskedModel,
        "write",
        lambda self, prompts, keys: [
            {"answer": next(answers), "ended": True, "pictures": 0} for _ in prompts
        ],
    )
    result = run()
    # BLEU's scorer keeps its ratio from zero by 1e-9
    assert result["metrics"]["rouge_l"] == 100 and result["metrics"]["bleu_1"] == pytest.approx(
        100, abs=1e-3
    )
    whole = run(cut="whole")
    assert whole["metrics"]["rouge_l"] < 100 and whole["num_reused"] == 4
    assert whole["scoring"]["cut"] == "whole"


def test_limit_then_all_is_what_all_at_once_is(run, tmp_path):
    first = run(limit=1, batch_size=3)
    assert first["num_images"] == 1
    again = run(batch_size=2)
    assert (again["num_images"], again["num_reused"]) == (4, 1)
    assert lines_of(tmp_path / "run") == sorted(
        lines_of(tmp_path / "run"), key=lambda line: line["key"]
    )
    run("other", batch_size=4)
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "other")


def test_a_pretrained_model_completes_after_the_picture(run, monkeypatch, tiny_llm):
    prompts = []
    generate = SeedLlama.generate
    monkeypatch.setattr(
        SeedLlama,
        "generate",
        lambda self, asked, *a, **k: prompts.extend(asked) or generate(self, asked, *a, **k),
    )
    result = run(ask={"template": "plain"})
    assert result["settings"]["prompt"] == "" and result["settings"]["template"] == "plain"
    vocabulary = tiny_llm.vocabulary
    assert all(
        len(prompt) == 1 + 34 and prompt[1] == vocabulary.boi and prompt[-1] == vocabulary.eoi
        for prompt in prompts
    )
    prompts.clear()
    shown = run("shots", ask={"template": "plain"}, shots=2, limit=2)
    assert all(prompt.count(vocabulary.boi) == 3 for prompt in prompts)
    assert shown["settings"]["shots"]["num"] == 2 and shown["settings"]["shots"]["split"] == "train"
    before = list(prompts)
    prompts.clear()
    run("again", ask={"template": "plain"}, shots=2, limit=2, batch_size=1)
    assert prompts == before
    prompts.clear()
    run("seed", ask={"template": "plain", "seed": 3}, shots=2, limit=2)
    assert prompts != before


def test_shots_come_from_another_split_that_is_there(run):
    with pytest.raises(UsageError, match="has 3 pictures"):
        run(shots=3)
    with pytest.raises(UsageError, match="no split 'nowhere'"):
        run(shots=1, shots_split="nowhere")


def test_emoji_have_names_to_be_ranked(run, tmp_path):
    result = run(dataset="emoji", limit=3, ask={"max_new_tokens": 4})
    assert list(result["metrics"])[-3:] == ["name_top1", "name_top5", "name_exact"]
    assert result["num_names"] == 177 and result["chance"]["name_top1"] == pytest.approx(
        100 / 177, abs=0.01
    )
    names = candidate_names(emoji_captions("unseen"), plain=False)
    assert all(
        0 <= line["name_rank"] < 177 and line["likeliest_name"] in names
        for line in lines_of(tmp_path / "run")
    )
    assert (
        sum(
            part["num_images"]
            for name, part in result["subsets"].items()
            if name.startswith("vendor")
        )
        == 3
    )
    shown = _show_caption(result)
    assert "name_top5" in shown and "no_flags (" in shown


def test_a_name_that_is_the_likeliest_is_first(run, tmp_path, monkeypatch):
    found = emoji_captions("unseen")
    names = candidate_names(found, plain=False)
    right = iter([one.name for one in found.pictures.values()])

    def likelihoods(llm, prompt, ids):
        wanted = next(right)
        return [0.0 if name == wanted else -1.0 - place for place, name in enumerate(names)]

    monkeypatch.setattr("seedcli.workflows.evaluate.caption.choice_log_likelihoods", likelihoods)
    result = run(dataset="emoji", limit=2, ask={"max_new_tokens": 2})
    assert result["metrics"]["name_top1"] == 100
    assert [line["likeliest_name"] for line in lines_of(tmp_path / "run")] == [
        one.name for one in found.pictures.values()
    ][:2]


def test_java_is_missed_before_anything_is_asked(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="Java"):
        run(words="ptb", ask={"model": "not looked for"})


def test_the_published_split_is_checked(tiny_llm_folder, caption_file, tmp_path):
    content = json.loads(caption_file.read_text()) | {"dataset": "coco"}
    caption_file.write_text(json.dumps(content))
    arguments = [
        "eval",
        "caption",
        "--model",
        str(tiny_llm_folder),
        "--dataset",
        str(caption_file),
        "-o",
        str(tmp_path / "run"),
    ]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 3 and "--allow-split" in outcome.stderr
    allowed = CliRunner().invoke(
        app, [*arguments, "--allow-split", "--max-new-tokens", "4", "--beams", "1", "--json"]
    )
    assert json.loads(allowed.stdout)["published_split"] is False


def test_a_picture_that_is_none_is_one_failed_sample(run, tmp_path):
    rows = [{"image": name, "caption": "a dog"} for name in write_noise(tmp_path, 3)]
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "list.json").write_text(json.dumps(rows))
    result = run(dataset=str(tmp_path / "list.json"), ask={"max_new_tokens": 4})
    assert (result["num_failed"], result["num_images"]) == (1, 3)
    (failed,) = [line for line in lines_of(tmp_path / "run") if "failed" in line]
    assert (failed["key"], failed["answer"]) == ("000001", "") and "1.png" in failed["failed"]
