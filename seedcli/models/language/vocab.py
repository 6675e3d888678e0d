"""Codes as text: codes <-> `<img_00042>` <-> image spans; torch-free. On the path: between the
codebook and the language model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from seedcli.errors import UsageError

BOI = "<img>"
EOI = "</img>"

_SPAN = re.compile(re.escape(BOI) + r"(.*?)" + re.escape(EOI), re.DOTALL)
CODE_TOKEN = re.compile(r"<img_(\d{5,})>")


def format_code(code: int) -> str:
    """Code -> code token, e.g. 42 -> `<img_00042>`. Source:
    AILab-CVC/SEED@93b3cf4, `<img_%05d>`.
    """
    return f"<img_{code:05d}>"


def format_span(codes: Sequence[int]) -> str:
    """Codes [Q] -> image span: BOI, the code tokens, EOI, without spaces."""
    return BOI + "".join(format_code(code) for code in codes) + EOI


def parse_spans(text: str, num_queries: int = 32) -> list[list[int]]:
    """Text -> the codes of every image span in it, in order.

    White space between the tokens of a span is allowed: decoding a text tokenizer puts it there.

    Raises:
        UsageError: A span holds something else than code tokens or not `num_queries` of them, or
            BOI and EOI do not pair up.
    """
    spans = []
    for number, match in enumerate(_SPAN.finditer(text)):
        inside = match.group(1)
        codes = [int(code) for code in CODE_TOKEN.findall(inside)]
        rest = CODE_TOKEN.sub("", inside).strip()
        if rest:
            raise UsageError(
                f"image span {number} holds {rest[:40]!r} between {BOI} and {EOI}; only code "
                f"tokens like {format_code(42)} belong there"
            )
        if len(codes) != num_queries:
            raise UsageError(
                f"image span {number} holds {len(codes)} codes; an image is exactly {num_queries}"
            )
        spans.append(codes)
    if text.count(BOI) != len(spans) or text.count(EOI) != len(spans):
        raise UsageError(
            f"{text.count(BOI)} {BOI} and {text.count(EOI)} {EOI} do not pair up into image spans"
        )
    return spans


def check_codes(
    codes: Sequence[object], *, num_codes: int, num_queries: int, where: str
) -> list[int]:
    """Checks the codes of one image and returns them as ints.

    Args:
        codes: What was read; anything.
        num_codes: Size of the codebook K; codes are 0..K-1.
        num_queries: Codes of one image Q.
        where: Place for the message, e.g. `codes.jsonl, line 3`.

    Raises:
        UsageError: Not a list of exactly Q integers in range.
    """
    if isinstance(codes, str) or not isinstance(codes, Sequence):
        raise UsageError(
            f"{where}: codes are {type(codes).__name__}, expected a list of {num_queries} integers"
        )
    if len(codes) != num_queries:
        raise UsageError(f"{where}: {len(codes)} codes, expected exactly {num_queries}")
    for position, code in enumerate(codes):
        if isinstance(code, bool) or not isinstance(code, int):
            raise UsageError(f"{where}: code {position} is {code!r}, expected an integer")
        if not 0 <= code < num_codes:
            raise UsageError(f"{where}: code {position} is {code}, expected 0..{num_codes - 1}")
    return list(codes)  # type: ignore[arg-type]
