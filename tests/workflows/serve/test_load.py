"""`seed bench serve` and `seed chat --url` against a server of the tiny model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.data.images.images import read_image
from seedcli.errors import DataError, UsageError
from seedcli.workflows.chat.pictures import Drawing
from seedcli.workflows.chat.remote import RemoteChat, RemoteModel
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.serve.client import ServerClient, ServerError
from seedcli.workflows.serve.load import LoadRequest, _percentiles, measure_load


def test_a_server_is_measured(running) -> None:
    found = measure_load(
        LoadRequest(
            url=running.url,
            requests=8,
            in_flight=4,
            max_tokens=20,
            arrivals=6,
            draw_every=3,
            soak=8,
            leave=4,
        )
    )
    assert found["failures"] == {}
    assert found["in_flight"]["ratio"] > 0 and found["one_by_one"]["tokens_per_s"] > 0
    rate = found["open_loop"]
    assert set(rate["first_word_s"]) == set(rate["picture_s"]) == {"p50", "p95", "p99"}
    assert found["left"] == {"in_words": 2, "in_drawings": 2}
    assert all(memory > 10 for memory in found["memory_mb"].values())
    assert found["queue_p99_at_most_s"] > 0


def test_percentiles_are_values_that_were_measured() -> None:
    assert _percentiles(iter([*map(float, range(1, 101)), None])) == {
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
    }
    assert _percentiles(iter([None])) == {}


def test_the_command_prints_what_was_measured(running) -> None:
    options = "--requests 2 --in-flight 2 --max-tokens 5 --arrivals 2 --draw-every 0 --soak 0"
    result = CliRunner().invoke(
        app, ["bench", "serve", "--url", running.url, *options.split(), "--leave", "0"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["server"]["model"] == "tiny-llm"


@pytest.fixture
def chat(running, tmp_path) -> RemoteChat:
    model = RemoteModel.open(
        running.url, sampling={"max_new_tokens": 45, "seed": 3}, output=tmp_path / "out"
    )
    return RemoteChat(model)


def test_a_conversation_with_a_server_goes_on(chat, chat_model, data_url, tmp_path) -> None:
    heard = []
    picture = Image.new("RGB", (40, 30), "orange")
    assert chat.attach(picture) == chat_model.read(picture)
    turn = chat.say("what is this", on_text=heard.append)
    assert (
        "".join(heard).split()
        == "".join(part for part in turn.segments if isinstance(part, str)).split()
    )
    drawn = chat.say("draw it", draw=True)
    assert len(drawn.files) == len(drawn.images) >= 1 and len(chat.messages) == 4
    assert read_image(drawn.files[0]).size == (32, 32)
    # the library's answer with the same seed behind the same turns
    local = SeedChat(chat_model)
    local.messages = chat.messages[:2]
    local.sampling = replace(chat_model.sampling, seed=4, max_new_tokens=45)
    assert local.say("draw it", draw=True).codes == drawn.codes
    assert chat.undo() == "draw it" and len(chat.messages) == 2
    assert any(isinstance(part, Drawing) for part in chat.stream("a cat", draw=True))
    assert chat.save(tmp_path / "talk.jsonl") == 4


def test_a_full_context_forgets_the_oldest_turns(chat) -> None:
    chat.say("the red bus " * 12)
    chat.say("12 birds " * 12)
    chat.say("a dog " * 12)
    assert chat._forgotten > 0 and len(chat.messages) == 6


def test_who_is_no_server_is_told(running) -> None:
    with pytest.raises(UsageError, match="no address"):
        ServerClient("localhost:8000")
    with pytest.raises(DataError, match="does not answer"):
        RemoteModel.open("http://127.0.0.1:1/v1")
    with pytest.raises(UsageError, match="has no model gpt"):
        RemoteModel.open(running.url, model="gpt")
    with pytest.raises(ServerError, match="no such route"):
        RemoteModel.open(running.url + "/v2")


def test_chat_of_the_command_line_talks_to_a_server(running, tmp_path) -> None:
    result = CliRunner().invoke(
        app,
        ["chat", "--url", running.url, "--once", "a cat", "--draw", "-o", str(tmp_path / "out")],
    )
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["codes"][0]) == 32
    for words in (["--device", "cpu"], ["--words-first"], ["--picture-first"]):
        refused = CliRunner().invoke(app, ["chat", "--url", running.url, *words])
        assert refused.exit_code == 2
        assert f"--url and {words[0]} do not go together" in refused.output
    refused = CliRunner().invoke(app, ["chat", "--url", running.url, "--web"])
    assert refused.exit_code == 2 and "--web and --url do not go together" in refused.output
