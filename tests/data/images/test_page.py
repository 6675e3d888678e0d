"""Pages of pictures."""

import base64
from html.parser import HTMLParser
from io import BytesIO

from PIL import Image

from seedcli.data.images.page import (
    EMBEDDED_PX,
    SheetSample,
    heading,
    sheet,
    table,
    wide_picture,
    write_page,
)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.words = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def test_a_page_shows_every_sample_and_escapes_what_it_says(tmp_path):
    samples = [
        SheetSample(
            key="000001",
            pictures={
                "true": tmp_path / "truth" / "a b#1.png",
                "drawn": tmp_path / "pictures" / "1.png",
            },
            caption='a <script>alert("1")</script> & a cat',
            scores={"CLIP-I": 71.26},
        ),
        SheetSample(
            key="000002",
            pictures={"true": tmp_path / "truth" / "2.png", "drawn": None},
            caption="\N{DOG FACE} a dog",
        ),
    ]
    body = sheet(samples, folder=tmp_path)
    write_page(tmp_path / "index.html", "title <b>", ["fact & figure"], [body])
    page = Page()
    page.feed((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags and "b" not in page.tags
    assert page.tags.count("article") == 2 and page.tags.count("img") == 3
    assert set(page.sources) == {"truth/a%20b%231.png", "pictures/1.png", "truth/2.png"}
    words = " ".join(page.words)
    for expected in (
        'a <script>alert("1")</script> & a cat',
        "CLIP-I 71.3",
        "\N{DOG FACE} a dog",
        "no picture",
        "title <b>",
        "fact & figure",
    ):
        assert expected in words
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_page_that_is_one_file_holds_its_pictures(tmp_path):
    wide = Image.new("RGB", (3 * EMBEDDED_PX, 30), "red")
    wide.save(tmp_path / "a.png")
    for picture in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), wide):
        sample = SheetSample(key="<a>", pictures={"before": picture, "after": None})
        page = Page()
        page.feed(sheet([sample]))
        [address] = page.sources
        head, data = address.split(",")
        assert head == "data:image/webp;base64" and page.tags.count("figure") == 2
        assert Image.open(BytesIO(base64.b64decode(data))).size == (EMBEDDED_PX, 10)
    assert wide.size == (3 * EMBEDDED_PX, 30)
    page = Page()
    page.feed(
        heading("<h>", "& so")
        + table(["<x>"], [["<y>"]])
        + wide_picture(tmp_path / "a.png", "curves")
        + wide_picture(wide, "curves")
    )
    assert page.words == ["<h>", "& so", "<x>", "<y>"] and len(page.sources) == 2
    assert all(address.startswith("data:image/webp") for address in page.sources)
