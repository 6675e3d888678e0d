"""What each benchmark says of itself is all that the published numbers are compared by."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.benchmarks.paper_numbers import read_paper_numbers
from seedcli.benchmarks.scorecard import belongs, differences
from seedcli.cli.eval import BENCHMARKS
from seedcli.cli.main import app

SHORT = ("--max-new-tokens", 4)
JUDGED = ("--picture-steps", 1)


@pytest.fixture
def caption_file(tmp_path):
    Image.new("RGB", (40, 60), "red").save(tmp_path / "0.png")
    Image.new("RGB", (60, 40), "blue").save(tmp_path / "1.png")
    images = [
        {"filename": f"{number}.png", "split": "test", "sentences": [{"raw": "a red bus"}]}
        for number in range(2)
    ]
    (tmp_path / "pictures.json").write_text(json.dumps({"images": images}))
    return tmp_path / "pictures.json"


@pytest.fixture
def question_file(tmp_path, caption_file):
    (tmp_path / "words.json").write_text(
        json.dumps([{"image": "0.png", "question": "Which?", "answer": "bus"}])
    )
    choices = [{"image": "0.png", "question": "Which?", "answer": "bus", "choices": ["bus", "dog"]}]
    (tmp_path / "choices.json").write_text(json.dumps(choices))
    return tmp_path


@pytest.mark.parametrize(
    ("protocol", "arguments"),
    [
        (
            "retrieval",
            (
                "retrieval",
                "--model",
                "TOKENIZER",
                "--dataset",
                "pictures.json",
                "--feature",
                "codes",
            ),
        ),
        (
            "reconstruction",
            (
                "clip-similarity",
                "--model",
                "MODEL",
                "--dataset",
                "pictures.json",
                "--task",
                "image",
                "--ceiling",
                *JUDGED,
            ),
        ),
        (
            "drawing",
            (
                "clip-similarity",
                "--model",
                "LLM",
                "--dataset",
                "pictures.json",
                "--prompt",
                "caption",
                *JUDGED,
            ),
        ),
        ("caption", ("caption", "--model", "LLM", "--dataset", "pictures.json", *SHORT)),
        ("vqa", ("vqa", "--model", "LLM", "--dataset", "words.json", *SHORT)),
        ("choices", ("vqa", "--model", "LLM", "--dataset", "choices.json")),
    ],
)
def test_results_state_what_published_numbers_are_compared_by(
    protocol,
    arguments,
    question_file,
    tiny_tokenizer_folder,
    tiny_model_folder,
    tiny_llm_folder,
    tiny_judge_folder,
    tmp_path,
    monkeypatch,
):
    if arguments[0] not in BENCHMARKS:
        pytest.skip(f"there is no seed eval {arguments[0]}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folders = {
        "TOKENIZER": tiny_tokenizer_folder,
        "MODEL": tiny_model_folder,
        "LLM": tiny_llm_folder,
    }
    words = [str(folders.get(word, word)) for word in arguments]
    words += ["--judge", str(tiny_judge_folder)] if words[0] == "clip-similarity" else []
    outcome = CliRunner().invoke(app, ["eval", *words, "-o", str(tmp_path / "run"), "--json"])
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    numbers = [
        number
        for number in read_paper_numbers().published
        if number.weights and number.measurement.protocol.name == protocol
    ]
    compared = 0
    for number in numbers:
        alike = result | {"dataset": number.measurement.dataset}
        asks_otherwise = number.measurement.conditions.get("settings.prompt.kind") == "request"
        if belongs(number.measurement, alike) and not asks_otherwise:
            compared += 1
            assert number.metric in result["metrics"] and number.metric in result["intervals"]
            assert [each for each in differences(number, alike) if " is not stated, " in each] == []
    assert compared
