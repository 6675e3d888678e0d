"""The page of `seed chat --web`, without the browser: what its controls do, and what it shows."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seedcli.data.images.facts import read_picture_facts
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.chat.web import page as web_page
from seedcli.workflows.chat.web.page import Page
from seedcli.workflows.code_tiles import code_colors, tile_style
from seedcli.workflows.sampling import SamplingOptions

TAB = "0123456789abcdef" * 2
OTHER_TAB = "f" * 32
SAMPLING = (5, 1.5, 1.0, 0, 45, 1.0)


@pytest.fixture
def page(tiny_llm, tmp_path) -> Page:
    settings = ChatSettings(
        sampling=SamplingOptions(temperature=1.5, top_p=1.0, max_new_tokens=45),
        pictures=PictureSettings(output=tmp_path / "out", steps=2, device="cpu"),
    )
    conversation = SeedChat(ChatModel(settings, llm=tiny_llm).load())
    (tmp_path / "served").mkdir()
    page = Page(conversation, tmp_path / "served")
    yield page
    page.close()


@pytest.fixture
def uploaded(page, tmp_path) -> Path:
    """A picture as the page was sent it."""
    path = tmp_path / "served" / "0a1b" / "my <cat>.png"
    path.parent.mkdir()
    Image.new("RGB", (40, 30), (200, 30, 60)).save(path)
    return path


def act(page: Page, do: str, *, tab: str = TAB, seed: int | None = None, **more) -> tuple:
    """Presses something -> state, HTML and next seed when all is done."""
    action = json.dumps({"do": do, "tab": tab, **more})
    *_, (state, html, next_seed) = page.chat(action, seed, *SAMPLING[1:])
    return json.loads(state), html, next_seed


def look(page: Page, do: str, **more) -> tuple[dict, str]:
    *_, (state, html) = page.tokens(json.dumps({"do": do, "tab": TAB, **more}))
    return json.loads(state), html


def drawn(page: Page, html: str) -> list[Path]:
    """Files of the pictures that the page shows."""
    sources = re.findall(r'<img src="/pictures/([^"]+)"', html)
    return [page.desk.folder / each for each in sources]


def saved(page: Page, state: dict) -> dict:
    path = page.desk.folder / state["transcript"].removeprefix("/pictures/")
    return json.loads(path.read_text())


def test_a_turn_with_pictures_is_answered_and_drawn(page, uploaded) -> None:
    words = "this <image> and <b>that</b>"
    state, html, seed = act(page, "say", words=words, pictures=[str(uploaded)], draw=True, seed=5)
    assert not state["busy"] and state["said"] and seed == 6
    assert "and &lt;b&gt;that&lt;/b&gt;" in html and "<b>" not in html
    assert 'alt="Picture my &lt;cat&gt;.png"' in html and str(page.desk.folder) not in html
    _, answer = drawn(page, html)[:2]
    codes = saved(page, state)["images"][1]
    assert read_picture_facts(answer)["codes"] == codes
    assert read_picture_facts(answer)["seed"] == 5
    assert " ".join(map(str, codes)) in html and 'download="seed-0.png"' in html
    assert 'alt="Picture drawn by' in html
    assert saved(page, state)["messages"][0]["content"] == words


def test_a_tab_keeps_its_conversation_and_hears_no_other(page) -> None:
    _, html, _ = act(page, "say", words="a dog", seed=1)
    assert act(page, "open")[1] == html
    _, other, _ = act(page, "open", tab=OTHER_TAB)
    assert "a dog" not in other and 'class="empty"' in other


def test_words_are_edited_answered_again_and_taken_back(page, uploaded) -> None:
    act(page, "say", words="first", pictures=[str(uploaded)], seed=1)
    act(page, "say", words="second")
    state, html, _ = act(page, "say", words="third")
    before = saved(page, state)
    assert html.count('class="said user"') == 3

    refused, _, _ = act(page, "edit", turn=1, words="<img_00001>")
    assert "image tokens" in refused["status"]
    assert saved(page, refused) == before

    state, html, _ = act(page, "edit", turn=0, words="now <image>this")
    edited = saved(page, state)
    assert html.count('class="said user"') == 1 and len(edited["messages"]) == 2
    assert edited["messages"][0]["content"] == "now <image>this"
    assert edited["images"][0] == before["images"][0]

    state, _, _ = act(page, "again", turn=0)
    again = saved(page, state)
    assert again["messages"][0] == edited["messages"][0] and again != edited

    undone, html, _ = act(page, "undo")
    assert undone["back"]["words"] == "now <image> this" and 'class="empty"' in html
    assert undone["transcript"] is None and not undone["said"]


def test_all_is_forgotten_with_its_files(page, uploaded) -> None:
    _, html, _ = act(page, "say", words="a", pictures=[str(uploaded)], seed=1)
    files = drawn(page, html)
    assert files and all(path.exists() for path in files)
    state, html, seed = act(page, "forget")
    assert not state["said"] and 'class="empty"' in html and seed == 1
    assert not any(path.exists() for path in files)


def test_what_cannot_be_said_is_given_back_in_words(page, uploaded) -> None:
    for words, pictures, expected in (
        ("<image> <image>", [uploaded], "says <image> 2 times, 1 images are attached"),
        ("  ", [], "Nothing is said"),
        ("<img_00001>", [], "hold image tokens"),
        ("the red bus waits near the bridge " * 30, [], "there is room for"),
    ):
        state, html, _ = act(
            page, "say", words=words, pictures=list(map(str, pictures)), draw=True, seed=0
        )
        assert expected.lower() in state["status"].lower() and not state["said"]
        back = state["back"]
        assert back["words"] == words and back["draw"] and 'class="empty"' in html
        assert [each["name"] for each in back["pictures"]] == [path.name for path in pictures]
        assert str(page.desk.folder) not in state["status"]


def test_settings_out_of_range_are_told(page) -> None:
    action = json.dumps({"do": "say", "tab": TAB, "words": "hi"})
    *_, (state, _, _) = page.chat(action, 0, 1e9, 0.5, 0, 20, 1.0)
    assert "Temperature is 1000000000" in json.loads(state)["status"]


def test_an_answer_is_stopped_and_its_words_come_back(page) -> None:
    page.desk.working.acquire()  # as if another tab were being answered
    try:
        steps = page.chat(
            json.dumps({"do": "say", "tab": TAB, "words": "a dog", "draw": True}), *SAMPLING
        )
        waiting = json.loads(next(steps)[0])
        assert waiting["busy"] and "Another tab" in waiting["status"]
        reloaded = page.chat(json.dumps({"do": "open", "tab": TAB}), *SAMPLING)
        assert "a dog" in next(reloaded)[1]
        stopping = page.chat(json.dumps({"do": "stop", "tab": TAB}), *SAMPLING)
        next(stopping)
    finally:
        page.desk.working.release()
    for watching in (steps, reloaded, stopping):
        *_, (state, html, _) = watching
        state = json.loads(state)
        assert not state["busy"] and "Stopped" in state["status"] and 'class="empty"' in html
        assert state["back"]["words"] == "a dog" and state["back"]["draw"]
    assert act(page, "say", words="a dog", seed=0)[0]["said"]


def test_only_pictures_are_sent_and_only_from_the_page(page, tmp_path, uploaded) -> None:
    assert page.check(str(uploaded)) is None
    letter = tmp_path / "served" / "letter.png"
    letter.write_text("dear model")
    refused = page.check(str(letter))
    assert refused.startswith("letter.png is not sent: it is not an image")
    assert str(tmp_path) not in refused
    assert not letter.exists()
    outside = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    for path in (outside, tmp_path / "served" / ".." / "secret.png", "/etc/passwd", 3):
        assert page.check(str(path)) == "That is no uploaded file."
    state, _, _ = act(page, "say", words="look", pictures=[str(outside)], seed=0)
    assert saved(page, state)["images"][:1] != [None] and outside.exists()
    assert "<image>" not in saved(page, state)["messages"][0]["content"]


@pytest.mark.parametrize(
    "said", ["", "no JSON", "[]", "{}", '{"do": "open"}', '{"do": "open", "tab": "../../etc"}']
)
def test_what_no_control_says_is_not_heard(page, said) -> None:
    assert list(page.chat(said, *SAMPLING)) == [] and list(page.tokens(said)) == []


def test_codes_of_a_picture_their_first_ones_and_others(page, uploaded, tmp_path) -> None:
    state, html = look(page, "look", slot="first", path=str(uploaded))
    board = page.table.boards[TAB]
    assert not state["busy"] and state["first"] and html.count("data-place=") == 32
    assert board.codes == tuple(page.table._tokenizer.encode(uploaded)[0].tolist())
    assert [number for _, number in board.drawn] == [1, 4, 8, 16, 32]
    whole = board.drawn[board.codes, 32]
    assert whole.address in html

    _, html = look(page, "keep", number=3)
    assert "First 3 of 32 codes" in html and (board.codes, 3) in board.drawn

    other = (board.codes[4] + 1) % 64
    _, html = look(page, "change", place=4, code=other)
    assert board.edited == [4] and f"Code 5: {other}, it was {board.first.codes[4]}" in html
    assert board.difference.address in html and "Code 5 changed" in html
    expected = page.table._tokenizer.decode(board.codes, seed=0, steps=board_steps(page))
    with Image.open(drawn_file(page, board.drawn[board.codes, 32])) as shown:
        # the page draws one picture alone, as `decode` does
        assert np.array_equal(np.asarray(shown), np.asarray(expected[0]))

    refused, _ = look(page, "change", place=4, code=64)
    assert "64" in refused["status"] and board.codes[4] == other
    look(page, "change", place=0, code=None)
    assert board.edited == [] and board.difference is None

    second = tmp_path / "served" / "second.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)).save(second)
    _, html = look(page, "look", slot="second", path=str(second))
    different = [a != b for a, b in zip(board.first.codes, board.second.codes, strict=True)]
    assert html.count('class="tile differs"') == sum(different) > 0
    assert f"{sum(different)} of 32 codes differ" in html
    look(page, "look", slot="second", path=str(uploaded))
    assert board.differing == []
    _, html = look(page, "leave", slot="first")
    assert 'class="empty"' in html


def board_steps(page: Page) -> int:
    return page.table._tokenizer.drawing_settings(None, None)[0]


def drawn_file(page: Page, shown) -> Path:
    return page.desk.folder / shown.address.removeprefix("/pictures/")


def test_colors_of_codes_are_spread_and_their_text_is_read() -> None:
    colors = code_colors(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
    assert colors.shape == (64, 3) and colors.dtype == np.uint8
    assert (np.sort(colors, 0)[[0, -1]] == [[40] * 3, [235] * 3]).all()
    assert tile_style((255, 255, 0)).endswith("color:#000")
    assert tile_style((60, 20, 120)).endswith("color:#fff")


def test_tabs_that_nobody_looks_at_are_dropped(page, monkeypatch) -> None:
    monkeypatch.setattr("seedcli.workflows.chat.web.watched.TABS", 3)
    folders = [page.desk.tabs[f"{number:032x}"].folder for number in range(5)]
    assert [folder.exists() for folder in folders] == [False, False, True, True, True]


@pytest.mark.slow
def test_examples_are_answered_rightly(tmp_path) -> None:
    """By the bundled model, as a person would see them: each the first turn of a conversation."""
    conversation = SeedChat(ChatModel(ChatSettings(device="cpu", draws=False)).load())
    (tmp_path / "served").mkdir()
    page = Page(conversation, tmp_path / "served")
    wanted = tomllib.loads((web_page.HERE / "examples.toml").read_text())["seed-nano"]["chat"]
    sampling = dataclasses.astuple(conversation.sampling)
    assert len(wanted) >= 3
    for number, example in enumerate(wanted):
        action = json.dumps({"do": "example", "tab": f"{number:032x}", "number": number})
        now = conversation.sampling
        *_, (state, _, _) = page.chat(
            action, 0, now.temperature, now.top_p, now.top_k, now.max_new_tokens, now.code_guidance
        )
        answer = saved(page, json.loads(state))["messages"][1]["content"]
        assert example["right"] in answer, (example, answer)
    assert sampling == dataclasses.astuple(conversation.sampling)
