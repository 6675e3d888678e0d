"""The routes: shapes of answers, what is supported and what is refused."""

from __future__ import annotations

import base64
import time
from dataclasses import replace

import pytest

from tests.workflows.serve.conftest import ask, check_same_picture, opened, said

CHAT = "chat/completions"


def test_an_answer_has_openais_shape_and_its_seed_gives_it_again(running) -> None:
    body = {"model": "tiny-llm", "messages": said("a dog"), "modalities": ["text"], "seed": 3}
    answer = running.post(CHAT, body)
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    found = answer.json
    (choice,) = found["choices"]
    message = choice["message"]
    assert found["object"] == "chat.completion" and found["model"] == "tiny-llm"
    assert message["role"] == "assistant" and message["content"]
    assert message["images"] == [] and len(message["segments"]) == 1
    assert choice["finish_reason"] in ("stop", "length") and choice["logprobs"] is None
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert "x-seed-ignored" not in answer.headers
    again = running.post(CHAT, body | {"seed": found["seed"]}).json
    assert again["choices"] == found["choices"]


@pytest.mark.parametrize("words_first", [False, True])
def test_answers_are_those_of_the_library(running, chat_model, monkeypatch, words_first) -> None:
    """The server's words and codes against `SeedChat`'s with the same seed."""
    from seedcli.workflows.chat.seed_chat import SeedChat

    monkeypatch.setattr(chat_model, "facts", replace(chat_model.facts, words_first=words_first))
    conversation = SeedChat(chat_model)
    conversation.reseed(11)
    turn = conversation.say("a dog", draw=True)
    assert turn.text.startswith("<image>") != words_first
    body = {"model": "tiny-llm", "messages": said("a dog"), "draw": True, "seed": 11}
    message = running.post(CHAT, body).json["choices"][0]["message"]
    assert [each["codes"] for each in message["segments"] if "codes" in each] == turn.codes
    assert len(message["images"]) == len(turn.images) >= 1
    check_same_picture(opened(message["images"][0]["image_url"]["url"]), turn.images[0])


def test_pictures_in_a_stream_come_as_codes_and_then_drawn(running) -> None:
    body = {
        "model": "tiny-llm",
        "messages": said("draw a cat"),
        "modalities": ["image"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = running.post(CHAT, body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, usage = answer.chunks
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    placed = [key for delta in deltas for key in ("segments", "images") if key in delta]
    assert placed == ["segments", "images"]
    assert all(isinstance(delta.get("content", ""), str) for delta in deltas)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 34


def test_a_stream_says_what_the_whole_answer_says(running) -> None:
    body = {"model": "tiny-llm", "messages": said("the red bus"), "seed": 5, "draw": True}
    whole = running.post(CHAT, body).json["choices"][0]
    chunks = running.post(CHAT, body | {"stream": True}).chunks
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    content = "".join(delta.get("content", "") for delta in deltas)
    assert content.strip() == whole["message"]["content"]
    images = [image for delta in deltas for image in delta.get("images", ())]
    assert [image["index"] for image in images] == [0]
    for image, other in zip(images, whole["message"]["images"], strict=True):
        check_same_picture(opened(image["image_url"]["url"]), opened(other["image_url"]["url"]))


def test_several_answers_are_those_of_seeds_that_count_up(running) -> None:
    body = {"model": "tiny-llm", "messages": said("12 birds"), "modalities": ["text"]}
    three = running.post(CHAT, body | {"n": 3, "seed": 7}).json["choices"]
    alone = [
        running.post(CHAT, body | {"seed": seed}).json["choices"][0]["message"] for seed in (7, 8)
    ]
    assert [choice["index"] for choice in three] == [0, 1, 2]
    assert [choice["message"] for choice in three[:2]] == alone


def test_a_conversation_goes_on_with_the_codes_of_earlier_answers(
    running, chat_model, data_url, monkeypatch
) -> None:
    drawn = running.post(
        CHAT, {"model": "tiny-llm", "messages": said("a cat"), "modalities": ["image"]}
    ).json["choices"][0]["message"]
    asked = []
    encode = chat_model.encode
    monkeypatch.setattr(
        chat_model, "encode", lambda messages: asked.append(messages) or encode(messages)
    )
    turns = [
        {"role": "developer", "content": "Be brief."},
        *said("a cat"),
        drawn,
        *said("and now", data_url),
        *said("a dog"),
    ]
    answer = running.post(CHAT, {"model": "tiny-llm", "messages": turns, "max_tokens": 5})
    assert answer.status == 200
    ((system, first, reply, last),) = asked
    assert system.role == "system" and system.segments == ("Be brief.",)
    assert list(reply.segments[0]) == drawn["segments"][0]["codes"]
    assert len(last.segments) == 2 and last.segments[1] == "and now\na dog"
    assert first.role == "user"


def test_a_client_that_drops_our_pictures_goes_on(running, chat_model, monkeypatch) -> None:
    """Chat pages send an answer back as its words, of which one of pictures alone has none."""
    asked = []
    encode = chat_model.encode
    monkeypatch.setattr(
        chat_model, "encode", lambda messages: asked.append(messages) or encode(messages)
    )
    turns = [*said("a cat"), {"role": "assistant", "content": ""}, *said("a dog")]
    answer = running.post(CHAT, {"model": "tiny-llm", "messages": turns, "max_tokens": 3})
    assert answer.status == 200
    ((only,),) = asked
    assert only.role == "user" and only.segments == ("a cat\na dog",)


def test_stop_words_end_an_answer_and_are_not_part_of_it(running) -> None:
    body = {"model": "tiny-llm", "messages": said("a dog"), "modalities": ["text"], "seed": 3}
    content = running.post(CHAT, body).json["choices"][0]["message"]["content"]
    middle = content[len(content) // 2 : len(content) // 2 + 3]
    cut = running.post(CHAT, body | {"stop": [middle, "never said"]}).json["choices"][0]
    assert cut["message"]["content"] == content[: content.index(middle)].strip()
    assert cut["finish_reason"] == "stop"


def test_log_probabilities_are_told_for_every_token(running) -> None:
    body = {
        "model": "tiny-llm",
        "messages": said("a dog"),
        "modalities": ["image"],
        "logprobs": True,
        "top_logprobs": 2,
    }
    entries = running.post(CHAT, body).json["choices"][0]["logprobs"]["content"]
    assert [entries[0]["token"], entries[-1]["token"]] == ["<img>", "</img>"]
    assert len(entries) == 34 and entries[0]["logprob"] == 0.0
    assert all(len(each["top_logprobs"]) == 2 for each in entries[1:-1])
    assert all(each["logprob"] <= 0 for each in entries)


def test_pictures_have_short_addresses_where_that_is_asked_for(running) -> None:
    body = {
        "model": "tiny-llm",
        "messages": said("a cat"),
        "modalities": ["image"],
        "image_format": "url",
    }
    message = running.post(CHAT, body).json["choices"][0]["message"]
    url = message["images"][0]["image_url"]["url"]
    assert url.startswith(running.url) and len(url) < 120
    picture = ask(running.url, "GET", url.removeprefix(running.url.removesuffix("/v1")))
    assert opened(picture.content).size == (32, 32)
    # said again by its address, its codes are known
    turn = {"role": "user", "content": [message["images"][0], {"type": "text", "text": "what"}]}
    again = running.post(CHAT, {"model": "tiny-llm", "messages": [turn], "max_tokens": 3})
    assert again.status == 200
    assert running.get("/v1/images/files/../../etc/passwd").status == 404
    assert running.get("/v1/images/files/" + "0" * 32 + ".png").status == 404


def test_content_in_parts(running) -> None:
    body = {"model": "tiny-llm", "messages": said("a cat"), "draw": True, "seed": 2}
    parts = running.post(CHAT, body | {"content_format": "parts"}).json["choices"][0]["message"]
    kinds = [part["type"] for part in parts["content"]]
    assert kinds == ["text" if "text" in each else "image_url" for each in parts["segments"]]


def test_images_from_words_and_from_pictures(running, data_url) -> None:
    answer = running.post("images/generations", {"prompt": "a cat", "n": 2, "size": "32x32"})
    pictures = answer.json["data"]
    assert len(pictures) == 2 and pictures[0]["b64_json"] != pictures[1]["b64_json"]
    assert opened(pictures[0]["b64_json"]).size == (32, 32)
    wrong = running.post("images/generations", {"prompt": "a cat", "size": "1024x1024"})
    assert wrong.status == 400 and wrong.error["message"] == "this model draws pictures of 32x32"
    png = base64.b64decode(data_url.partition(",")[2])
    body = (
        b'--x\r\nContent-Disposition: form-data; name="image[]"; filename="a.png"\r\n\r\n'
        + png
        + b'\r\n--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nin blue\r\n--x--\r\n'
    )
    edited = running.post("images/edits", body, content_type="multipart/form-data; boundary=x")
    assert edited.status == 200 and len(edited.json["data"][0]["codes"]) == 32
    for name in (b"mask", b"prompt"):
        spoilt = body.replace(b'name="image[]"', b'name="' + name + b'"')
        refused = running.post(
            "images/edits", spoilt, content_type="multipart/form-data; boundary=x"
        )
        assert refused.status == 400 and refused.error["message"]


def test_pictures_become_codes_and_codes_pictures(running, chat_model, data_url) -> None:
    found = running.post("tokenize", {"images": [data_url, data_url.partition(",")[2]]}).json
    png = base64.b64decode(data_url.partition(",")[2])
    expected = chat_model.tokenizer.encode([png, png]).tolist()
    assert [each["codes"] for each in found["data"]] == expected
    assert found["fingerprint"] == chat_model.tokenizer.fingerprint
    drawn = running.post("detokenize", {"codes": expected, "seed": 4, "steps": 3}).json["data"]
    images = chat_model.tokenizer.decode(expected, seed=4, steps=3)
    for each, image in zip(drawn, images, strict=True):
        check_same_picture(opened(each["b64_json"]), image)
    short = running.post("detokenize", {"codes": [[1, 2]]})
    assert short.status == 400 and short.error["param"] == "codes"
    bad = running.post("tokenize", {"images": [data_url, "data:image/png;base64,aGVsbG8="]})
    assert bad.status == 400 and bad.error["param"] == "images[1]"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"frequency_penalty": 1}, "frequency_penalty", "not supported"),
        ({"tool_choice": "required"}, "tool_choice", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({"modalities": ["audio"]}, "modalities.0", "'text' or 'image'"),
        ({"modalities": ["text"], "draw": True}, "draw", "words alone"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"temprature": 1}, "temprature", "unknown"),
        ({"temperature": "warm"}, "temperature", "number"),
        ({"n": 99}, "n", "less than or equal to 16"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "assistant", "content": "hm"}]}, "messages", "user's is expected"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "messages", "user's is expected"),
        ({"messages": [{"role": "tool", "content": "hm"}]}, "messages.0.role", "'system'"),
        ({"messages": said("<img_00001>")}, "messages", "image tokens"),
        ({"messages": said("a \ud800")}, "messages[0]", "no UTF-8"),
        ({"messages": said(" ")}, "messages[0]", "says nothing"),
        ({"messages": said("x " * 400)}, "messages", "context has 256 tokens"),
        ({"messages": said("x" * 50_000)}, "messages", "50,000 characters"),
        ({"draw": True, "max_tokens": 20}, "messages", "a picture takes 34 tokens"),
        ({"messages": said("what", "file:///etc/passwd")}, "messages[0]", "data URL"),
        ({"messages": said("what", "http://127.0.0.1/")}, "messages[0]", "fetches no pictures"),
        ({"messages": said("what", "data:image/png;base64,aGVsbG8=")}, "messages[0]", "picture"),
        ({"messages": said("what", "data:image/png;base64,?")}, "messages[0]", "no base64"),
        ({"model": "gpt-5"}, "model", "tiny-llm answers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_answered_is_refused_with_its_field(running, fields, param, says) -> None:
    answer = running.post(CHAT, {"model": "tiny-llm", "messages": said("a dog")} | fields)
    assert answer.status == (404 if param == "model" else 400)
    assert answer.error["param"] == param and says in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"


def test_ignored_fields_are_named(running) -> None:
    body = {
        "model": "tiny-llm",
        "messages": said("a dog"),
        "max_tokens": 3,
        "user": "me",
        "reasoning_effort": "low",
        "functions": [],
        "store": None,
        "tools": [{"type": "function", "function": {"name": "clock"}}],
        "tool_choice": "auto",
        "frequency_penalty": 0,
    }
    assert running.post(CHAT, body).headers["x-seed-ignored"] == "reasoning_effort, tools, user"
    body = {"model": "tiny-llm", "messages": said("a dog"), "max_tokens": 3}
    body["messages"][0] |= {"name": "me", "refusal": None, "annotations": [], "n\u00e9e\r\n": 1}
    body["stream_options"] = {"include_obfuscation": True}
    assert running.post(CHAT, body).headers["x-seed-ignored"] == (
        "messages.?, messages.annotations, messages.name, stream_options.include_obfuscation"
    )


def test_what_is_no_request_is_refused_in_openais_shape(running) -> None:
    for answer, status in (
        (running.post(CHAT, b"{"), 400),
        (running.post(CHAT, b"[" * 100_000), 400),
        (running.post(CHAT, b"\xff"), 400),
        (running.post("nothing", {}), 404),
        (running.get("/v1/chat/completions"), 405),
        (running.get("/v1/models/gpt"), 404),
        (running.post(CHAT, b"x" * 1_000_001), 413),
    ):
        assert answer.status == status and answer.error["message"], answer


def test_models_metrics_health_and_the_page(running) -> None:
    assert [each["id"] for each in running.get("/v1/models").json["data"]] == ["tiny-llm"]
    assert running.get("/v1/models/tiny-llm").json["object"] == "model"
    assert running.get("/health").json == {"status": "ok"}
    text = running.get("/metrics").content.decode()
    assert 'seed_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert 'seed_stage_seconds_count{stage="queue"}' in text
    page = running.get("/docs").content.decode()
    assert "/v1/chat/completions" in page and "script" not in page and "http" not in page


def test_the_log_has_figures_and_no_contents(running) -> None:
    running.post(CHAT, {"model": "tiny-llm", "messages": said("secret words"), "max_tokens": 3})
    running.get("/secret-path")
    until = time.monotonic() + 60
    while '"status": 404' not in running.log.told[-1] and time.monotonic() < until:
        time.sleep(0.01)  # the line comes after the answer
    text = "\n".join(running.log.told[-2:])
    assert '"tokens": 3' in text and '"route": "none"' in text
    assert "secret" not in text


def test_code_guidance_moves_away_from_the_request_without_words(running, chat_model) -> None:
    from seedcli.workflows.chat.seed_chat import SeedChat

    body = {"model": "tiny-llm", "messages": said("a dog"), "modalities": ["image"], "seed": 2}
    guided = running.post(CHAT, body | {"code_guidance": 3.0}).json["choices"][0]["message"]
    plain = running.post(CHAT, body).json["choices"][0]["message"]
    conversation = SeedChat(chat_model)
    conversation.sampling = replace(chat_model.sampling, code_guidance=3.0, seed=2)
    turn = conversation.say("a dog", draw=True)
    assert guided["segments"][0]["codes"] == turn.codes[0] != plain["segments"][0]["codes"]
