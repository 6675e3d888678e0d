"""Codes as text, read back: every accepted form, and what is said of every other."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from seedcli.data.tokens.code_lines import read_code_file, read_code_lines, read_integers
from seedcli.errors import DataError, UsageError
from seedcli.models.language.vocab import format_span

CODES = list(range(32))


def _read(text: str | bytes) -> list:
    return list(
        read_code_lines(io.BytesIO(text if isinstance(text, bytes) else text.encode()), "codes.txt")
    )


def test_json_lines_keep_what_is_known() -> None:
    line = {
        "source": "a/img.jpg",
        "codes": CODES,
        "model": "seed-nano",
        "fingerprint": "abc",
        "more": 1,
    }
    image, bare, null = _read(
        json.dumps(line)
        + "\n\n"
        + json.dumps(CODES)
        + "\n"
        + json.dumps({"codes": CODES, "source": None})
    )
    assert (image.codes, image.source, image.model, image.fingerprint) == (
        CODES,
        "a/img.jpg",
        "seed-nano",
        "abc",
    )
    assert image.where == "codes.txt, line 1"
    assert (bare.codes, bare.source, bare.where) == (CODES, None, "codes.txt, line 3")
    assert (null.source, null.where) == (None, "codes.txt, line 4")


def test_token_text_with_words_around_and_several_spans_a_line() -> None:
    one, two, three = _read(
        f"a cat {format_span(CODES)} and {format_span(CODES[::-1])}\n{format_span(CODES)}"
    )
    assert (one.codes, two.codes, three.codes) == (CODES, CODES[::-1], CODES)
    assert (one.where, two.where, three.where) == (
        "codes.txt, line 1, span 0",
        "codes.txt, line 1, span 1",
        "codes.txt, line 2",
    )


def test_windows_line_ends_and_byte_order_mark() -> None:
    assert [
        image.codes for image in _read(b"\xef\xbb\xbf" + json.dumps(CODES).encode() + b"\r\n\r\n")
    ] == [CODES]


def test_nothing_gives_nothing() -> None:
    assert _read("") == _read("\n \n") == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"codes": [1, 2', "no JSON on one line"),
        ("[" * 100_000, "no JSON on one line"),
        ('{"source": "img.jpg"}', "no \"codes\", only 'source'"),
        ("{}", 'no "codes", only nothing'),
        ("1 2 3", "'1 2 3' holds no codes"),
        (format_span(CODES[:31]), "31 codes"),
        ("<img><img_00001>", "do not pair up"),
        ("<img>words</img>", "'words'"),
    ],
)
def test_a_malformed_line_is_named(line: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        _read(json.dumps(CODES) + "\n" + line)
    assert caught.value.message.startswith("codes.txt, line 2")
    assert says in caught.value.message


def test_a_picture_in_place_of_codes(tmp_path: Path) -> None:
    path = tmp_path / "img.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)))
    with pytest.raises(DataError, match="no text") as caught:
        list(read_code_file(path))
    assert "seed tokenize" in caught.value.remedy


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        list(read_code_file(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    "words",
    [[str(code) for code in CODES], [" ".join(map(str, CODES))], [", ".join(map(str, CODES))]],
)
def test_integers_as_typed(words: list[str]) -> None:
    assert read_integers(words).codes == CODES


@pytest.mark.parametrize("word", ["1.5", "x", "0x1f", "1e3", "١"])
def test_a_word_that_is_no_integer(word: str) -> None:
    with pytest.raises(UsageError, match=r"code 1 is .*expected an integer"):
        read_integers(["7", word, "8"])
