"""`seed eval vqa` from end to end, with a language model of two layers."""

import json

import pytest
from typer.testing import CliRunner

from seedcli.benchmarks.vqa_sets import load_question_set
from seedcli.cli.eval_vqa import _show_vqa
from seedcli.cli.main import app
from seedcli.data.documents.conversations import read_prompts
from seedcli.errors import DataError, UsageError
from seedcli.models.language.generate import SeedLlama
from seedcli.models.language.likelihood import log_likelihoods
from seedcli.workflows.evaluate import asking as eval_asking
from seedcli.workflows.evaluate.requests import AskSettings, VqaRequest
from seedcli.workflows.evaluate.run import measure
from tests.benchmarks.test_vqa_sets import root, write_videos
from tests.set_files import write_noise

__all__ = ["root"]

COUNT = {
    "image": "0.png",
    "question": "How many?",
    "answer": "12",
    "choices": ["12", "birds", "a"],
    "kind": "number",
}
QUESTIONS = [
    {
        "image": "0.png",
        "question": "Which animal?",
        "answer": "dog",
        "choices": ["dog", "a bus near the bridge"],
        "kind": "animal",
    },
    COUNT,
    COUNT | {"image": "1.png"},
    COUNT | {"image": "1.png", "answer": "a"},
]


@pytest.fixture
def question_file(tmp_path):
    write_noise(tmp_path, 2)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(QUESTIONS))
    return path


@pytest.fixture
def run(tiny_llm_folder, question_file, tmp_path):
    def start(folder="run", dataset=None, **changes):
        ask = AskSettings(
            **{"model": str(tiny_llm_folder), "device": "cpu", "max_new_tokens": 6}
            | changes.pop("ask", {})
        )
        request = VqaRequest(
            dataset=dataset or str(question_file), ask=ask, output=tmp_path / folder, **changes
        )
        return measure(request)

    return start


@pytest.fixture
def prompts(monkeypatch):
    found = []
    generate = SeedLlama.generate
    monkeypatch.setattr(
        SeedLlama,
        "generate",
        lambda self, asked, *a, **k: found.extend(asked) or generate(self, asked, *a, **k),
    )
    return found


def lines_of(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def say(monkeypatch, answers):
    waiting = iter(answers)
    monkeypatch.setattr(
        eval_asking.AskedModel,
        "write",
        lambda self, prompts, keys: [
            {"answer": next(waiting), "ended": True, "pictures": 0} for _ in prompts
        ],
    )


def test_the_command(tiny_llm_folder, question_file, tmp_path):
    arguments = [
        "eval",
        "vqa",
        "--model",
        str(tiny_llm_folder),
        "--dataset",
        str(question_file),
        "-o",
        str(tmp_path / "run"),
        "--json",
        "--page",
        str(tmp_path / "page.html"),
    ]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article") == 4 and page.count("data:image/webp") >= 4
    assert (
        f"{result['metrics']['accuracy']:.2f}" in page
        and "Which animal?" in page
        and "Expected:" in page
    )
    assert (result["benchmark"], result["dataset"], result["split"], result["num_images"],
            result["num_questions"]) == (
        "vqa", "mine", "all", 2, 4
    )  # fmt: skip
    assert result["settings"]["by"] == "likelihood" and "decoding" not in result["settings"]
    assert result["scoring"] == {"choice_score": "mean"}
    assert result["chance"]["accuracy"] == pytest.approx(100 * (1 / 2 + 3 / 3) / 4)
    assert set(result["kinds"]) == {"animal", "number"}


def test_the_likeliest_choice_is_the_answer(run, tmp_path, tiny_llm_folder, question_file):
    result = run()
    lines = lines_of(tmp_path / "run")
    for question, line in zip(QUESTIONS, lines, strict=True):
        means = [
            total / count
            for total, count in zip(line["log_likelihoods"], line["num_tokens"], strict=True)
        ]
        line["right"] = question["choices"][means.index(max(means))] == question["answer"]
    assert result["metrics"]["accuracy"] == 25 * sum(line["right"] for line in lines)
    model = eval_asking.AskedModel(AskSettings(model=str(tiny_llm_folder), device="cpu"))
    (picture,) = {
        one.row.picture: one.pictures[0]
        for one in load_question_set(str(question_file), limit=1).questions.values()
    }.values()
    prompt = model.prompt(
        model.read([picture]), f"Which animal? {read_prompts()['question']['short_answer']}"
    )
    ids = [
        model.llm.text_tokenizer.encode(choice, add_special_tokens=False)
        for choice in QUESTIONS[0]["choices"]
    ]
    assert [len(each) for each in ids] == lines[0]["num_tokens"]
    # rounded
    assert log_likelihoods(model.llm, [prompt] * 2, ids) == pytest.approx(
        lines[0]["log_likelihoods"], abs=1e-4
    )
    summed = run(choice_score="sum")
    assert summed["num_reused"] == 4 and summed["scoring"] == {"choice_score": "sum"}


def test_words_are_asked_for_in_one_word_or_phrase(run, prompts, tiny_llm):
    result = run(by="generation", batch_size=3)
    text = tiny_llm.text_tokenizer.decode(prompts[0])
    assert (
        text.replace("\n", " ").rstrip().endswith("one word or phrase. ASSISTANT:")
        and "Which animal? Please" in text
    )
    assert result["settings"]["decoding"] == {
        "temperature": 0.0,
        "num_beams": 1,
        "max_new_tokens": 6,
    }
    assert result["scoring"] == {"cut": "phrase"} and "chance" not in result
    run("plain", by="generation", ask={"template": "plain"})
    assert (
        tiny_llm.text_tokenizer.decode(prompts[-1])
        .replace("\n", " ")
        .endswith("Question: How many? Answer:")
    )


def test_right_answers_in_words(run, monkeypatch):
    say(monkeypatch, ["Dog.", "12", "the birds", "a.\nQuestion: more?"])
    result = run(by="generation")
    # "a" is an article, so that the official normalisation leaves nothing of it on either side
    # rounded to four digits
    assert result["metrics"]["accuracy"] == 75 and result["kinds"]["number"]["metrics"][
        "accuracy"
    ] == pytest.approx(200 / 3, abs=1e-3)
    assert result["majority"]["accuracy"] == 75
    assert result["kinds"]["number"]["majority"]["accuracy"] == pytest.approx(200 / 3, abs=1e-3)
    low, high = result["intervals"]["accuracy"]
    assert low == 50 and high == 100  # two pictures are drawn, of 100 and 50 percent
    shown = _show_vqa(result)
    assert "answered without a look" in shown and "animal" in shown


def test_limit_then_all_is_what_all_at_once_is(run, tmp_path):
    assert run(by="generation", limit=1)["num_questions"] == 1
    assert run(by="generation")["num_reused"] == 1
    run("other", by="generation", batch_size=1)
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "other")


def test_other_settings_do_not_go_into_the_same_folder(run):
    run(by="generation", limit=1)
    with pytest.raises(DataError, match="prompt was"):
        run(by="generation", limit=1, prompt="{question}")


def test_a_split_without_answers_becomes_a_submission(run, root, tmp_path, monkeypatch):
    say(monkeypatch, ["left.", "2"])
    result = run(dataset="vqav2", split="test-dev", data_root=root, allow_split=True)
    assert result["metrics"]["accuracy"] is None and result["intervals"]["accuracy"] is None
    assert json.loads((tmp_path / "run" / "submission.json").read_text()) == [
        {"question_id": 262148000, "answer": "left"},
        {"question_id": 9001, "answer": "2"},
    ]
    assert result["submission"] in _show_vqa(result)


def test_videos_show_their_frames_before_the_question(run, root, prompts, tiny_llm):
    write_videos(root)
    result = run(dataset="msvd", data_root=root, allow_split=True)
    assert prompts[0].count(tiny_llm.vocabulary.boi) == 4 and result["settings"]["num_frames"] == 4
    assert (result["num_images"], result["published_split"]) == (4, False)


def test_emoji_by_words_and_by_likelihood(run):
    words = run(dataset="emoji", limit=12)
    assert words["settings"]["by"] == "generation" and words["published_split"] is None
    chosen = run("chosen", dataset="emoji", limit=12, by="likelihood")
    assert 0 < chosen["chance"]["accuracy"] < 60 and "accuracy" in chosen["majority"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--prompt", "no place"], 2, "{question}"),
        (["--dataset", "okvqa"], 3, "--data-root DIR with DIR/okvqa/"),
        (["--dataset", "nothing.json"], 3, "no file at nothing.json"),
        (["--split", "train"], 2, "--split unseen"),
        (["--model", "seed-lama"], 2, "no language model"),
    ],
)
def test_what_goes_wrong_says_what_to_do(tiny_llm_folder, arguments, code, says):
    outcome = CliRunner().invoke(app, ["eval", "vqa", "--model", str(tiny_llm_folder), *arguments])
    assert outcome.exit_code == code and says in outcome.stderr.replace("\n", " ")


def test_likelihood_needs_choices(run, tmp_path):
    path = tmp_path / "open.json"
    path.write_text(json.dumps([{"image": "0.png", "question": "?", "answer": "a"}]))
    with pytest.raises(UsageError, match="no choices"):
        run(dataset=str(path), by="likelihood")


@pytest.mark.parametrize("by", ["generation", "likelihood"])
def test_a_question_that_cannot_be_asked_is_one_failed_sample(
    tiny_llm_folder, question_file, tmp_path, by
):
    """Words that would pass for a picture, no room in the context, a picture that is none; the
    others are answered, and the exit code says that some failed.
    """
    (question_file.parent / "broken.png").write_bytes(b"no picture")
    good = {"question": "How many?", "answer": "12", "choices": ["12", "birds"], "image": "0.png"}
    rows = [good, good | {"question": "see <img>"}, good | {"question": "why " * 5000},
            good | {"image": "broken.png"}, good]  # fmt: skip
    path = question_file.with_name("some.json")
    path.write_text(json.dumps(rows))
    arguments = ["eval", "vqa", "--model", str(tiny_llm_folder), "--dataset", str(path), "--json",
                 "--by", by, "-o", str(tmp_path / "run"), "--max-new-tokens", "4"]  # fmt: skip
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 4, outcome.stderr
    assert json.loads(outcome.stdout)["num_failed"] == 3
    lines = {line["key"]: line.get("failed", "") for line in lines_of(tmp_path / "run")}
    assert list(lines) == [f"{number:06d}" for number in range(5)]
    assert lines["000000"] == lines["000004"] == ""
    assert "words hold image tokens" in lines["000001"]
    assert "tokens" in lines["000002"] and "context" in lines["000002"]
    assert "broken.png" in lines["000003"]
    assert all(f"{key}: " in outcome.stderr for key, reason in lines.items() if reason)
