"""Document sources of a tokenizer that sees the red of a picture."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from seedcli.data.images.images import open_image
from seedcli.data.mixtures.documents import open_source
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.recipe.language import DocumentSourceSection
from tests.tiny_shards import tiny_header

HEADER = tiny_header()
FIXTURE = Path(__file__).parents[2] / "parity" / "data" / "text_sequences.json"
TEXT_TOKENIZER = load_text_tokenizer(FIXTURE.parent / "text_tokenizer")


def codes_of(pictures):
    """Red value of the first pixel as four codes."""
    return [(open_image(picture).getpixel((0, 0))[0],) * 4 for picture in pictures]


def opened(cache, codes=codes_of, **fields):
    """A source as a recipe's section of these fields opens it."""
    values = {"form": "messages", "weight": 1.0, "max_tokens": 64, **fields}
    section = DocumentSourceSection(**values)
    return open_source(
        section,
        codes_of=codes,
        num_queries=4,
        num_codes=64,
        fingerprint=HEADER.fingerprint,
        cache=cache,
    )


def picture(path: Path, red: int) -> Path:
    """Writes one whose codes are `red`."""
    Image.new("RGB", (8, 8), (red, 0, 0)).save(path)
    return path
