"""The page of `seed chat --web` in a real browser: Chromium, where it and Playwright are installed
(make test-web).
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.web_screen import in_sight, look_at
from tests.web_server import end, say, start

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
_missing += [] if CHROMIUM else ["Chromium"]
pytestmark = [
    pytest.mark.skipif(
        bool(_missing), reason=f"not installed: {', '.join(_missing)}: make test-web"
    ),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
WAIT_MS = 120_000  # a busy machine draws slowly
WIDTHS = {"phone": (390, 844), "tablet": (768, 1024), "desk": (1440, 900)}


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_llm_folder):
    server = start(tmp_path_factory.mktemp("web"), tiny_llm_folder, "--picture-steps", "2")
    yield server
    end(server)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]  # tests may run as root
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), WIDTHS["desk"], strict=True)),
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context, server):
    page = opened(context, server)
    yield page
    assert page.faults == []


def opened(context, server):
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on(
        "console",
        lambda message: message.type == "error" and page.faults.append(message.text),
    )
    page.goto(server.url)
    page.wait_for_selector("#conversation .log")
    page.wait_for_function("document.querySelector('#chat .status')")
    page.wait_for_timeout(300)
    return page


def words(page):
    return page.get_by_role("textbox", name="Your words").first


def ask(page, text: str, *, draw: bool = False) -> None:
    """Says something, by the keyboard alone, and waits for the answer."""
    before = page.locator(".said.assistant").count()
    if draw:
        page.get_by_role("checkbox", name="Draw a picture").check()
    words(page).fill(text)
    words(page).press("Enter")
    page.locator(".said.assistant").nth(before).wait_for()
    answered(page)


def answered(page) -> None:
    page.get_by_role("button", name="Send").first.wait_for()


def until(page, true) -> None:
    for _ in range(WAIT_MS // 200):
        if true():
            return
        page.wait_for_timeout(200)
    raise AssertionError("it never was so")


def transcript(page) -> dict:
    with page.expect_download() as download:
        page.get_by_role("link", name="Transcript").click()
    return json.loads(Path(download.value.path()).read_text())


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "holiday.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(path)
    return path


def test_a_conversation(page, picture) -> None:
    assert page.title() == "seed chat"
    assert "answers" in page.locator("#header").inner_text()
    stop = page.get_by_role("button", name="Stop")
    assert not stop.is_visible() and not page.get_by_role("button", name="New chat").is_visible()
    page.get_by_label("Pictures", exact=True).set_input_files(picture)
    page.get_by_role("button", name="Leave out holiday.png").wait_for()
    ask(page, "look & <b>say</b>", draw=True)
    asked = page.locator(".said.user").first
    assert "look & <b>say</b>" in asked.inner_text()
    assert asked.get_by_role("img", name="Picture holiday.png").is_visible()
    drawn = page.get_by_role("img", name=re.compile("Picture drawn by")).first
    box = drawn.bounding_box()
    assert box["width"] >= 256 and box["height"] >= 256
    with page.expect_download() as download:
        page.get_by_role("link", name="Download seed-0.png").first.click()
    with Image.open(download.value.path()) as image:
        assert download.value.suggested_filename == "seed-0.png" and image.format == "PNG"
    assert not page.get_by_role("checkbox", name="Draw a picture").is_checked()

    page.get_by_role("button", name="Copy the words of You").first.click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "look & <b>say</b>"

    page.get_by_role("button", name=re.compile("Edit your words")).click()
    area = page.get_by_role("textbox", name="Your words").first
    assert area.input_value() == "look & <b>say</b>"
    area.press("Escape")
    page.get_by_role("button", name=re.compile("Edit your words")).click()
    area = page.get_by_role("textbox", name="Your words").first
    area.fill("a dog")
    area.press("Enter")
    page.locator(".said.user", has_text="a dog").wait_for()
    answered(page)
    assert page.locator(".said").count() == 2
    first = transcript(page)
    page.get_by_role("button", name="Have the last turn answered again").click()
    until(page, lambda: transcript(page)["messages"] != first["messages"])
    page.get_by_role("button", name=re.compile("Take back")).click()
    page.locator(".empty").first.wait_for()
    assert words(page).input_value() == "a dog"


def test_a_reload_keeps_the_conversation_and_another_tab_has_its_own(page, context, server) -> None:
    ask(page, "a dog")
    said = page.locator(".log").inner_text()
    page.reload()
    page.locator(".said.assistant").wait_for()
    assert page.locator(".log").inner_text() == said
    other = opened(context, server)
    other.locator(".empty").first.wait_for()
    assert other.locator(".said").count() == 0 and other.faults == []

    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="New chat").click()
    assert "Forget all" in asked[0] and page.locator(".said").count() == 2
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="New chat").click()
    page.locator("#conversation .empty").wait_for()
    assert not page.get_by_role("link", name="Transcript").is_visible()


def test_a_file_that_is_no_picture_is_refused_once_in_words(page, tmp_path, picture) -> None:
    letter = tmp_path / "letter.png"
    letter.write_text("dear model")
    page.get_by_label("Pictures", exact=True).set_input_files([letter, picture])
    page.get_by_text("letter.png is not sent").wait_for()
    page.get_by_role("button", name="Leave out holiday.png").wait_for()
    shown = page.locator("body").inner_text()
    assert shown.count("letter.png") == 1 and "/tmp" not in shown
    assert page.locator(".attached li").count() == 1 and page.locator(".said").count() == 0


def test_an_answer_is_stopped_and_its_words_are_back(page, server) -> None:
    for number in range(3):  # so that the answer cannot be faster than the hand
        say(server, f"{number:032x}", "a dog")
    page.get_by_role("checkbox", name="Draw a picture").check()
    words(page).fill("a dog")
    words(page).press("Enter")
    stop = page.get_by_role("button", name="Stop")
    stop.wait_for()
    assert not page.get_by_role("button", name="Send").first.is_visible()
    stop.click()
    answered(page)
    page.get_by_text("Stopped.").wait_for()
    assert words(page).input_value() == "a dog"
    assert page.get_by_role("checkbox", name="Draw a picture").is_checked()


def test_settings_under_advanced_reach_the_answer(page) -> None:
    ask(page, "a dog")
    first = transcript(page)["messages"]
    page.get_by_role("button", name=re.compile("Advanced")).click()
    seed = page.get_by_role("spinbutton", name=re.compile("Seed of the next answer"))
    assert seed.input_value() == "1"
    seed.fill("0")
    seed.press("Tab")
    page.get_by_role("button", name="Have the last turn answered again").click()
    until(page, lambda: seed.input_value() == "1")
    assert transcript(page)["messages"] == first


def test_codes_of_pictures(page, picture, tmp_path) -> None:
    page.get_by_role("tab", name="Tokens").click()
    page.get_by_label("Picture", exact=True).set_input_files(picture)
    tiles = page.locator("#board .tile")
    page.get_by_role("img", name="Picture drawn from all codes").first.wait_for()
    assert tiles.count() == 32
    page.get_by_role("img", name="Picture drawn from the first 4 codes").wait_for()

    slider = page.get_by_role("slider", name=re.compile("First codes kept"))
    slider.focus()
    slider.press("Home")
    page.get_by_text("First 1 of 32 codes").wait_for()

    tiles.nth(4).focus()
    page.keyboard.press("Enter")
    code = page.get_by_role("spinbutton", name="Code")
    before = int(code.input_value())
    assert page.get_by_role("spinbutton", name="Place").input_value() == "5"
    code.fill(str((before + 1) % 64))
    code.press("Enter")
    page.get_by_role("img", name=re.compile("Where the two pictures differ")).wait_for()
    assert f"it was {before}" in tiles.nth(4).get_attribute("aria-label")
    page.get_by_role("button", name="As it was").click()
    page.get_by_role("button", name="As it was").wait_for(state="detached")

    other = tmp_path / "other.png"
    Image.new("RGB", (50, 50), "navy").save(other)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=re.compile("Choose a second picture")).click()
    chooser.value.set_files(other)
    page.get_by_text(re.compile("of 32 codes differ")).wait_for()
    differing = page.locator("#board .tile.differs").count()
    assert f"{differing} of 32 codes differ" in page.locator("#board").inner_text()

    page.reload()
    page.get_by_role("tab", name="Tokens").click()
    page.get_by_text(re.compile("of 32 codes differ")).wait_for()
    letter = tmp_path / "letter.png"
    letter.write_text("dear model")
    page.get_by_label("Picture", exact=True).set_input_files(letter)
    page.get_by_text("letter.png is not sent").wait_for()


def test_pictures_are_dropped_and_pasted_anywhere_on_the_page(page) -> None:
    send = """([selector, kind, name]) => {
        const pixels = document.createElement("canvas");
        return new Promise((done) => pixels.toBlob((blob) => {
            const carried = new DataTransfer();
            carried.items.add(new File([blob], name, {type: "image/png"}));
            const what = {bubbles: true, cancelable: true, dataTransfer: carried};
            const event = kind === "paste"
                ? new ClipboardEvent(kind, {...what, clipboardData: carried})
                : new DragEvent(kind, what);
            // what is not taken by the page is opened by the browser in its place
            done(!document.querySelector(selector).dispatchEvent(event));
        }));
    }"""
    assert page.evaluate(send, ["#conversation .log", "dragover", "a.png"])
    assert page.evaluate(send, ["#conversation .log", "drop", "a.png"])
    page.get_by_role("button", name="Leave out a.png").wait_for()
    assert page.evaluate(send, ["body", "paste", "b.png"])
    page.get_by_role("button", name="Leave out b.png").wait_for()

    page.get_by_role("tab", name="Tokens").click()
    assert page.evaluate(send, ["#board", "drop", "c.png"])
    page.get_by_role("img", name="Picture c.png").wait_for()
    page.get_by_role("img", name="Picture drawn from all codes").first.wait_for()
    assert page.evaluate(send, [".slot[data-slot=second]", "drop", "d.png"])
    page.get_by_role("img", name="Picture d.png").wait_for()
    page.get_by_role("tab", name="Chat").click()
    assert page.locator(".attached li").count() == 2


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_fits_and_is_read(browser, server, picture, tmp_path, width, scheme) -> None:
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    context = browser.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    page = opened(context, server)
    look_at(page, one_screen=True)
    draw = page.get_by_role("checkbox", name="Draw a picture")
    for checked in (False, True):
        draw.set_checked(checked)
        with Image.open(io.BytesIO(draw.screenshot())) as box:
            assert np.ptp(np.asarray(box.convert("L"), int)) > 60, "a box that nobody sees"
    ask(page, "a dog", draw=True)
    box = page.get_by_role("img", name=re.compile("Picture drawn by")).first.bounding_box()
    assert box["width"] >= 256 and box["height"] >= 256
    look_at(page, one_screen=True)
    page.get_by_role("button", name=re.compile("Edit your words")).click()
    look_at(page, one_screen=True)
    page.keyboard.press("Escape")
    letter = tmp_path / "letter.png"
    letter.write_text("dear model")
    page.get_by_label("Pictures", exact=True).set_input_files([letter, picture])
    page.get_by_role("button", name="Leave out holiday.png").wait_for()
    look_at(page, one_screen=True)
    before = page.locator(".log").bounding_box()["width"]
    advanced = page.get_by_role("button", name="Advanced")
    advanced.click()
    page.get_by_role("slider", name=re.compile("Guidance")).wait_for()
    page.wait_for_timeout(200)
    look_at(page)
    assert in_sight(page, page.get_by_role("spinbutton", name=re.compile("Seed of the next")))
    assert page.locator(".log").bounding_box()["width"] == before

    page.get_by_role("tab", name="Tokens").click()
    look_at(page, one_screen=True)
    page.get_by_label("Picture", exact=True).set_input_files(picture)
    page.get_by_role("img", name="Picture drawn from all codes").first.wait_for()
    page.locator("#board .tile").nth(4).click()
    code = page.get_by_role("spinbutton", name="Code")
    code.fill(str((int(code.input_value()) + 1) % 64))
    code.press("Enter")
    changed = page.get_by_role("img", name=re.compile("Where the two pictures differ"))
    changed.wait_for()
    assert in_sight(page, code) and in_sight(page, changed)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=re.compile("Choose a second picture")).click()
    chooser.value.set_files(picture)
    page.get_by_text("All 32 codes agree").wait_for()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.get_by_label("Picture", exact=True).set_input_files(letter)
    refused = page.locator("#tokens").get_by_text("letter.png is not sent")
    refused.wait_for()
    assert in_sight(page, refused)
    look_at(page)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", light)[:3]))
    assert (brightness > 382) == (scheme == "light")
    assert page.faults == []
    context.close()
