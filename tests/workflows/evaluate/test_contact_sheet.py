"""The page of a benchmark's pictures."""

from html.parser import HTMLParser

from seedcli.workflows.evaluate.contact_sheet import SheetSample, write_contact_sheet


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
    write_contact_sheet(tmp_path / "index.html", "title <b>", ["fact & figure"], samples)
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
