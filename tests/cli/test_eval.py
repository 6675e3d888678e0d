"""`seed eval retrieval` from end to end, on tiny weights."""

import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from seedcli.benchmarks.paper_numbers import read_paper_numbers
from seedcli.benchmarks.scorecard import belongs, differences
from seedcli.cli.eval_retrieval import _show_retrieval
from seedcli.cli.main import app
from seedcli.engine.engines import EngineChoice, Slice
from seedcli.errors import UsageError
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.workflows.evaluate import retrieval as evaluate
from seedcli.workflows.evaluate import retrieval_features
from seedcli.workflows.evaluate.requests import RetrievalRequest
from seedcli.workflows.evaluate.run import measure
from tests.engine.elsewhere import send_elsewhere
from tests.set_files import write_captions

RECALLS = {"i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean"}


def run_retrieval(dataset, **options):
    return measure(RetrievalRequest(dataset=dataset, **options))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "seedcli" / "retrieval"


@pytest.fixture
def caption_file(tmp_path):
    return write_captions(
        tmp_path / "mine.json",
        [["red cat " * (number + 1), chr(97 + number)] for number in range(6)],
    )


def seed(*arguments: object):
    return CliRunner().invoke(app, ["eval", "retrieval", *map(str, arguments)])


def test_envelope(tiny_tokenizer_folder, caption_file):
    outcome = seed("--model", tiny_tokenizer_folder, "--dataset", caption_file, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert {key: result[key] for key in ("benchmark", "dataset", "split", "num_images",
                                         "num_captions", "feature", "query", "model")} == {
        "benchmark": "retrieval", "dataset": "mine", "split": "test", "num_images": 6,
        "num_captions": 12, "feature": "causal", "query": 31,
        "model": "tiny",
    }  # fmt: skip
    assert result["fingerprint"] == load_seed_model(locate(str(tiny_tokenizer_folder))).fingerprint
    assert set(result["metrics"]) == set(result["chance"]) == RECALLS
    assert "tiny answers" in outcome.stderr


def test_emoji_on_tiny_weights_says_what_flags_and_twins_do(tiny_tokenizer_folder):
    result = run_retrieval("emoji", model=str(tiny_tokenizer_folder), batch_size=128)
    assert (result["num_images"], result["published_split"]) == (177, None)
    assert {"no_flags", "no_flags_no_twins", "vendor_fluent", "vendor_twitter"} == set(
        result["subsets"]
    )
    assert result["chance"]["t2i_r10"] == pytest.approx(1000 / 177)


def test_features_equal_the_official_ones(tiny_tokenizer_folder, tiny_arrays):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)), text_branch=True)
    causal = tokenizer.causal_embeddings(tiny_arrays["in.pixels"])
    features = evaluate._image_features(tokenizer, causal, "causal", [31], 3)[:, 0]
    texts = tokenizer.text_features(tiny_arrays["in.text_ids"], tiny_arrays["in.text_mask"])
    # measured worst differences: 2.4e-7 and 3e-7
    torch.testing.assert_close(
        features @ texts.T, tiny_arrays["out.similarity_image_text"], atol=1e-5, rtol=0
    )
    by_codes = evaluate._image_features(tokenizer, causal, "codes", range(32), 3)
    torch.testing.assert_close(by_codes, tiny_arrays["out.image_feats_recon"], atol=1e-5, rtol=0)


def test_a_second_figure_costs_no_second_pass(
    tiny_tokenizer_folder, caption_file, own_cache, monkeypatch
):
    first = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder))
    assert first["cached"] == {"images": False, "texts": False}
    assert len(list(own_cache.rglob("*.npy"))) == 2

    def no_pass(*_):
        raise AssertionError("pictures were read again")

    monkeypatch.setattr(retrieval_features, "_read_squares", no_pass)
    second = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), batch_size=2)
    assert second["cached"] == {"images": True, "texts": True}
    assert second["metrics"] == first["metrics"]
    assert run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), feature="codes")[
        "cached"
    ]["images"]
    with pytest.raises(AssertionError, match="read again"):
        run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), cache=False)


def test_changed_pictures_are_read_again(tiny_tokenizer_folder, caption_file):
    run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder))
    Image.new("RGB", (33, 44), "red").save(caption_file.parent / "3.png")
    assert run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder))["cached"] == {
        "images": False,
        "texts": True,
    }


def test_a_damaged_cache_is_made_anew(tiny_tokenizer_folder, caption_file, own_cache):
    first = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder))
    for path in own_cache.rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:40])
    again = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder))
    assert again["cached"] == {"images": False, "texts": False}
    assert again["metrics"] == first["metrics"]


def test_other_engines_find_the_same(tiny_tokenizer_folder, caption_file, monkeypatch, own_cache):
    monkeypatch.setattr(retrieval_features, "_STRETCH", 4)
    send_elsewhere(monkeypatch, retrieval_features)

    def found(**choice):
        return run_retrieval(
            str(caption_file),
            model=str(tiny_tokenizer_folder),
            cache=choice.pop("cache", False),
            engine=EngineChoice(**choice),
            device="cpu",
        )

    alone, elsewhere = found(), found(nproc=2)
    assert elsewhere["metrics"] == alone["metrics"]
    with pytest.raises(UsageError, match="--no-cache keeps none"):
        found(part=Slice(0, 2))
    parts = [found(part=Slice(index, 2), cache=True) for index in range(2)]
    assert [(part["num_images"], part["num_captions"]) for part in parts] == [(4, 8), (2, 4)]
    last = found(cache=True)
    assert last["cached"] == {"images": True, "texts": True}
    assert last["metrics"] == alone["metrics"]


def test_by_query(tiny_tokenizer_folder, caption_file):
    result = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), by_query=True)
    assert [part["query"] for part in result["by_query"]] == list(range(32))
    assert result["by_query"][31]["metrics"] == result["metrics"]
    assert result["by_query"][0]["prefix_metrics"] == result["by_query"][0]["metrics"]
    assert 0 < result["query_variance"]["between_query_variance_centered"] < 1
    fifth = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), query=5)
    assert fifth["metrics"] == result["by_query"][5]["metrics"]


def test_what_a_person_sees(tiny_tokenizer_folder, caption_file, monkeypatch):
    result = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), by_query=True)
    table = _show_retrieval(result).splitlines()[1:-6]
    assert max(map(len, table)) <= 80 and not any("_r1" in line for line in table)
    monkeypatch.setenv("COLUMNS", "120")
    lines = _show_retrieval(result).splitlines()
    assert lines[0].startswith("mine test, 6 images, 12 captions; tiny")
    assert (
        len({len(line) for line in lines if line.startswith(("all", "chance", "query", "mean of"))})
        == 1
    )
    assert (
        sum(line.startswith("query ") for line in lines)
        == sum(line.startswith("mean of queries 0-") for line in lines)
        == 32
    )


def test_a_page_for_people(tiny_tokenizer_folder, caption_file, tmp_path):
    page = tmp_path / "page.html"
    result = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), page=page)
    text = page.read_text()
    assert text.count("<article") == 6 and text.count("data:image/webp") == 6
    assert text.count("Found at place") == 12 and "picture recall at 10" in text
    assert f"<td>{result['metrics']['r_mean']:.2f}</td>" in text


def test_limit_takes_the_first_pictures(tiny_tokenizer_folder, caption_file):
    result = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), limit=4)
    assert (result["num_images"], result["num_captions"]) == (4, 8)


def test_a_query_that_is_not_there(tiny_tokenizer_folder, caption_file):
    outcome = seed("--model", tiny_tokenizer_folder, "--dataset", caption_file, "--query", 32)
    assert outcome.exit_code == 2
    assert "queries 0 to 31" in outcome.stderr


def test_a_broken_picture_stops_the_benchmark(tiny_tokenizer_folder, caption_file):
    (caption_file.parent / "2.png").write_bytes(b"not a picture")
    outcome = seed("--model", tiny_tokenizer_folder, "--dataset", caption_file)
    assert outcome.exit_code == 3
    assert "2.png" in outcome.stderr


def test_wrong_split_exits_with_3(tiny_tokenizer_folder, caption_file):
    content = json.loads(caption_file.read_text()) | {"dataset": "flickr30k"}
    caption_file.write_text(json.dumps(content))
    outcome = seed("--model", tiny_tokenizer_folder, "--dataset", caption_file)
    assert outcome.exit_code == 3
    assert "--allow-split" in outcome.stderr
    allowed = seed(
        "--model", tiny_tokenizer_folder, "--dataset", caption_file, "--allow-split", "--json"
    )
    assert json.loads(allowed.stdout)["published_split"] is False


def test_ranks_of_each_picture_are_kept_with_the_result(
    tiny_tokenizer_folder, caption_file, tmp_path
):
    command = (
        "--model",
        tiny_tokenizer_folder,
        "--dataset",
        caption_file,
        "-o",
        tmp_path / "run",
        "--json",
    )
    outcome = seed(*command)
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert set(result["intervals"]) == RECALLS
    assert all(
        low <= result["metrics"][name] <= high for name, (low, high) in result["intervals"].items()
    )
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ]
    assert [line["image"] for line in lines] == [f"{number}.png" for number in range(6)]
    assert [len(line["captions"]) for line in lines] == [2] * 6
    assert result["metrics"]["i2t_r5"] == pytest.approx(
        100 * sum(line["rank"] < 5 for line in lines) / 6
    )
    assert result["metrics"]["t2i_r1"] == pytest.approx(
        100 * sum(each["rank"] < 1 for line in lines for each in line["captions"]) / 12
    )
    again = json.loads(seed(*command).stdout)
    assert (again["num_reused"], again["metrics"], again["intervals"]) == (
        6,
        result["metrics"],
        result["intervals"],
    )


def test_ranks_among_other_candidates_are_other_ranks(
    tiny_tokenizer_folder, caption_file, tmp_path
):
    command = ("--model", tiny_tokenizer_folder, "--dataset", caption_file, "-o", tmp_path / "run")
    assert seed(*command).exit_code == 0
    for change in (("--limit", 4), ("--feature", "codes")):
        outcome = seed(*command, *change)
        assert outcome.exit_code == 3
        assert "other settings" in outcome.stderr


def test_the_bundled_model_on_a_few_emoji(tmp_path):
    outcome = seed("--limit", 12, "-o", tmp_path / "run", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert (result["dataset"], result["split"], result["num_images"], result["model"]) == (
        "emoji",
        "unseen",
        12,
        "seed-nano",
    )
    assert result["metrics"]["r_mean"] > result["chance"]["r_mean"]
    assert result["settings"]["preprocessing"]["interpolation"] == "bicubic"


def test_a_result_states_what_published_numbers_are_compared_by(
    tiny_tokenizer_folder, caption_file
):
    result = run_retrieval(str(caption_file), model=str(tiny_tokenizer_folder), feature="codes") | {
        "dataset": "coco"
    }
    number = next(
        number
        for number in read_paper_numbers().published
        if number.weights == "seed-2" and belongs(number.measurement, result)
    )
    found = differences(number, result)
    assert "preprocessing.image_size_px is 56, published: 224" in found
    assert not any(
        "not stated" in each or "reranking" in each or "max_text_tokens" in each or "query" in each
        for each in found
    )
