"""Codes as `seed tokenize` prints them, read back: JSON Lines, token text, bare integers.
Torch-free. On the path: codes enter here again.

Token shards are another room (`data/tokens/shards.py`); both give `CodedImage`, so what follows
does not care where codes come from.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from seedcli.errors import DataError, UsageError
from seedcli.models.language.vocab import BOI, parse_spans

FORMS = (
    'expected a JSON object with "codes", as seed tokenize prints it, or an image span like '
    "<img><img_00042>...</img>"
)
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, kw_only=True)
class CodedImage:
    """One image as codes, before they are checked against a model.

    Attributes:
        codes: What was read; `models/vocab.check_codes` says whether it is 32 integers in range.
        where: Its place, for messages, e.g. `codes.jsonl, line 3`.
        source: Image that it was made from, if known.
        model: Name of the tokenizer that made the codes, if known.
        fingerprint: Its fingerprint, if known.
        frame: Which one of a video's frames, or of a document's pictures, it is.
    """

    codes: Any
    where: str
    source: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    frame: int | None = None

    @property
    def name(self) -> str | None:
        """Its source, `clip-002.mp4` for a frame."""
        if self.frame is None or self.source is None:
            return self.source
        stem, ending = os.path.splitext(self.source)
        return f"{stem}-{self.frame:03d}{ending}"


def read_code_lines(file: BinaryIO, name: str, *, num_queries: int = 32) -> Iterator[CodedImage]:
    """Lines of JSON or token text, mixed as they come -> coded images; blank lines are skipped, a
    line may hold several spans.

    Args:
        file: UTF-8, with or without a byte-order mark.
        name: What messages call it.
        num_queries: Codes of one image.

    Raises:
        UsageError: A line is neither; the message names the line.
        DataError: The file is no text.
    """
    for number, raw in enumerate(file, start=1):
        where = f"{name}, line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise DataError(
                f"{name} is no text (line {number}); {FORMS}",
                remedy="for pictures, seed tokenize comes first",
            ) from None
        if not line:
            continue
        if line.startswith(("{", "[")):
            yield from _from_json(line, where)
        elif BOI in line:
            try:
                spans = parse_spans(line, num_queries)
            except UsageError as error:
                raise UsageError(f"{where}: {error.message}", remedy=error.remedy) from None
            for position, codes in enumerate(spans):
                yield CodedImage(
                    codes=codes, where=where if len(spans) == 1 else f"{where}, span {position}"
                )
        else:
            raise UsageError(f"{where}: {line[:60]!r} holds no codes; {FORMS}")


def read_code_file(path: Path, *, num_queries: int = 32) -> Iterator[CodedImage]:
    """File of JSON Lines or token text -> coded images, as `read_code_lines`.

    Raises:
        DataError: The file is missing or unreadable.
        UsageError: A line is malformed.
    """
    try:
        with path.open("rb") as file:
            yield from read_code_lines(file, str(path), num_queries=num_queries)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}",
            remedy="pass a file of codes, or pipe them in: seed tokenize img.jpg | seed "
            "detokenize -o out.png",
        ) from None


def read_integers(words: Sequence[str]) -> CodedImage:
    """Integers as typed, separated by spaces or commas -> one coded image.

    Raises:
        UsageError: A word is no integer; the message names it.
    """
    numbers = " ".join(words).replace(",", " ").split()
    for position, number in enumerate(numbers):
        if not _INTEGER.fullmatch(number):
            raise UsageError(
                f"command line: code {position} is {number!r}, expected an integer",
                remedy="pass one file of codes, or 32 integers",
            )
    return CodedImage(codes=[int(number) for number in numbers], where="command line")


def _from_json(line: str, where: str) -> Iterator[CodedImage]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON on one line ({error}); {FORMS}") from None
    if isinstance(value, list):
        yield CodedImage(codes=value, where=where)
        return
    frames = value.get("frames")
    if "codes" not in value and not (isinstance(frames, list) and frames):
        raise UsageError(
            f'{where}: the JSON object has no "codes", only '
            f"{', '.join(map(repr, value)) or 'nothing'}; {FORMS}"
        )
    named = {
        key: value[key] if isinstance(value.get(key), str) else None
        for key in ("source", "model", "fingerprint")
    }
    if "codes" in value:
        yield CodedImage(codes=value["codes"], where=where, **named)
        return
    for number, frame in enumerate(frames):
        codes = frame.get("codes") if isinstance(frame, dict) else frame
        yield CodedImage(codes=codes, where=f"{where}, frame {number}", frame=number, **named)
