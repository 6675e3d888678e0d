"""Named sources of training documents -> one weighted, shuffled, endless sequence of samples that is addressed by number.

Sample `n` is a pure function of (seed, n), as `data.sample_order` says. Sources are random-access: shards are read by row groups, tars
through an index of their members, pictures that rows name by path are tokenised once and their codes cached.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from seedcli.data.documents import Sample
from seedcli.data.emoji_sources import EmojiCaptions, EmojiCodes, EmojiInstructions, EmojiTexts, EncodePictures
from seedcli.data.sample_order import SampleOrder

if TYPE_CHECKING:
    from seedcli.schema_llm import DocumentSourceSection


class DocumentSource(Protocol):
    """A finite, random-access source of samples; one with `block_sizes` is read in whole blocks and should be read locally."""

    def __len__(self) -> int: ...

    def read(self, row: int, rng: random.Random) -> Sample:
        """Row `row`; `rng` draws whatever the row leaves open."""


class DocumentMixture:
    """Weighted sources as one endless sequence of samples.

    Args:
        sources: Source and its share of samples; shares are relative.
        seed: Everything random follows from it and from the sample's number.

    Raises:
        DataError: No source, a weight that is not above 0, or a source without rows.
    """

    def __init__(self, sources: Sequence[tuple[DocumentSource, float]], *, seed: int):
        self._sources = [source for source, _ in sources]
        self._seed = seed
        self._order = SampleOrder([(getattr(source, "block_sizes", None) or len(source), weight) for source, weight in sources], seed=seed)

    def __len__(self) -> int:
        """Rows of all sources."""
        return len(self._order)

    def locate(self, n: int) -> tuple[int, int]:
        """Sample number -> (source number, row)."""
        return self._order.locate(n)

    def sample(self, n: int) -> tuple[int, Sample]:
        """Sample number -> (source number, sample)."""
        number, row = self.locate(n)
        return number, self._sources[number].read(row, random.Random(hash((self._seed, n))))


def open_source(
    section: DocumentSourceSection,
    *,
    codes_of: EncodePictures | None,
    num_queries: int,
    num_codes: int,
    fingerprint: str,
    cache: Path,
) -> DocumentSource:
    """A recipe's source -> the source itself, ready to be read.

    Args:
        section: The recipe's section.
        codes_of: Paths or bytes of pictures -> their codes; None where there is no visual tokenizer yet (words only).
        num_queries: Codes of a picture.
        num_codes: Size of the codebook.
        fingerprint: Of the visual tokenizer whose codes are read; another one's are refused.
        cache: Folder for codes of pictures and for indices of tars.

    Raises:
        DataError: A source that cannot be read, or codes of another tokenizer.
    """
    match section.kind:
        case "emoji-text":
            return EmojiTexts(section.path, conversations=section.form == "messages")
        case "emoji" | "emoji-instructions":
            from seedcli.data.emoji import read_emoji

            codes = EmojiCodes(
                read_emoji("train"), section.views, codes_of=_needed(codes_of, section.path), fingerprint=fingerprint, cache=cache
            )
            return EmojiCaptions(section.path, codes) if section.kind == "emoji" else EmojiInstructions(section.path, codes)
    raise NotImplementedError(section.kind)


def _needed(codes_of: EncodePictures | None, path: str) -> EncodePictures:
    if codes_of is None:
        raise ValueError(f"source {path} has pictures, and no visual tokenizer is at hand")
    return codes_of
