"""Pages of tokenized pictures and of a codebook's use, with a tiny model."""

import re

import numpy as np
import pytest
from PIL import Image

from seedcli.errors import DataError
from seedcli.workflows.documents.inspect import stats
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.page import PAGE_PICTURES, check_page, write_tokenize_page
from seedcli.workflows.tokenize.request import TokenizeRequest
from seedcli.workflows.tokenize.run import run


@pytest.fixture
def request_of(tiny_model_folder, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        samples = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(samples).save(folder / f"{number}.png")
    (folder / "2.png").write_text("no picture")

    def make(**changes) -> TokenizeRequest:
        return TokenizeRequest(
            inputs=(str(folder),), model=str(tiny_model_folder), device="cpu", workers=0, **changes
        )

    return make


def test_a_page_shows_pictures_before_and_after_with_their_codes(request_of, tmp_path):
    request = request_of()
    check_page(request, tmp_path / "page.html")
    assert write_tokenize_page(request, tmp_path / "new" / "page.html") == 4
    page = (tmp_path / "new" / "page.html").read_text()
    assert page.count("<article") == 4 and page.count("data:image/webp") == 8
    assert "http" not in page and "<script" not in page
    tokenizer = SeedTokenizer.from_pretrained(request.model, device="cpu")
    files = [path for path in sorted(tmp_path.glob("pictures/*.png")) if path.stem != "2"]
    shown = re.findall(r"<li [^>]*>(\d+)</li>", page)
    assert shown == [str(code) for row in tokenizer.encode(files).tolist() for code in row]


def test_a_page_shows_the_first_ones_only(request_of, tmp_path):
    assert write_tokenize_page(request_of(limit=2), tmp_path / "page.html") == 2
    assert PAGE_PICTURES < 100  # each is drawn


def test_a_page_that_cannot_be_made_is_refused_before_anything_is_computed(request_of, tmp_path):
    with pytest.raises(DataError, match="none of the first 1 pictures"):
        write_tokenize_page(
            TokenizeRequest(
                inputs=(str(tmp_path / "pictures" / "2.png"),),
                model=request_of().model,
                device="cpu",
                limit=1,
            ),
            tmp_path / "page.html",
        )
    assert not (tmp_path / "page.html").exists()


def test_a_page_shows_how_a_codebook_is_used(request_of, tmp_path):
    run(request_of(output=tmp_path / "tokens"))
    page = tmp_path / "codes.html"
    figures = stats([tmp_path / "tokens"], page=page)
    assert figures == stats([tmp_path / "tokens"])
    text = page.read_text()
    dead = round(64 * (1 - figures["codebook_usage"]))
    assert f"Codes that are never used: {dead}" in text and dead > 0
    often, _ = figures["most_frequent_codes"][0]
    assert f'id="code {often}"' in text and "data:image/webp" in text and "http" not in text
    # the pictures themselves are example pictures; where they are gone there is none
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    stats([tmp_path / "tokens"], page=page)
    assert "no picture" in page.read_text()
