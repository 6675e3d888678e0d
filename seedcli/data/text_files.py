"""Text as people save it -> str and JSON. Torch-free.

Files come with a byte order mark, in UTF-16, or with names in an old encoding; JSON comes with
half a character in an escape (`\\ud83d` alone), which no file of ours could hold. All of them are
mended here, at the door, so that nothing further in has to know.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from typing import IO, Any

from seedcli.files import parse_json

_HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")


def decode_text(data: bytes) -> str:
    """Bytes of a file -> text, UTF-8 or what its byte order mark says; what is neither becomes
    U+FFFD.
    """
    return data.decode(_encoding(data[:2]), "replace")


def open_text(file: IO[bytes] | io.BufferedIOBase, *, newline: str | None = "\n") -> IO[str]:
    """Binary file -> its text, strictly; lines end at `\\n` only, not at U+2028.

    Args:
        file: At its beginning, and able to peek (`open(..., "rb")` is).
        newline: As `open` has it; "" for CSV.
    """
    peeking: Any = file if hasattr(file, "peek") else io.BufferedReader(file)
    return io.TextIOWrapper(peeking, encoding=_encoding(peeking.peek(2)[:2]), newline=newline)


def _encoding(start: bytes) -> str:
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def load_json(text: str | bytes) -> Any:
    """JSON -> values, half a character in a string as U+FFFD.

    Raises:
        ValueError: It is no JSON, or nested too deep to be read.
    """
    text = decode_text(text) if isinstance(text, bytes) else text
    value = parse_json(text)
    return _mended(value) if _HALF_ESCAPED.search(text) else value


def _mended(value: Any) -> Any:
    match value:
        case str():
            return _HALF.sub("\ufffd", value)
        case list():
            return [_mended(one) for one in value]
        case dict():
            return {_mended(name): _mended(one) for name, one in value.items()}
    return value


def printable(name: str) -> str:
    """Name of a file -> text that can be written; bytes that are no UTF-8 stand as `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if _HALF.search(name) else name
