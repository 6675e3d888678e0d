"""Named sources of training documents -> one weighted, shuffled, endless sequence of samples that
is addressed by number.

Sample `n` is a pure function of (seed, n), as `data.sample_order` says. Sources are random-access:
shards are read by row groups, tars through an index of their members, pictures that rows name by
path are tokenised once and their codes cached.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seedcli.console import Reporter
from seedcli.data.documents.documents import Sample
from seedcli.data.mixtures.rows import LineDocuments, ShardDocuments, TableDocuments, TarDocuments
from seedcli.data.sample_order import SampleOrder, derived_seed
from seedcli.data.tokens.picture_store import EncodePictures, PictureStore
from seedcli.errors import DataError
from seedcli.storage import as_place, is_url

if TYPE_CHECKING:
    from seedcli.recipe.language import DocumentSourceSection


class DocumentSource(Protocol):
    """A finite, random-access source of samples; one with `block_sizes` is read in whole blocks and
    should be read locally.
    """

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
        self.sources = [source for source, _ in sources]
        self._seed = seed
        self._order = SampleOrder(
            [
                (getattr(source, "block_sizes", None) or len(source), weight)
                for source, weight in sources
            ],
            seed=seed,
        )

    def __len__(self) -> int:
        """Rows of all sources."""
        return len(self._order)

    def locate(self, n: int) -> tuple[int, int]:
        """Sample number -> (source number, row)."""
        return self._order.locate(n)

    def sample(self, n: int) -> tuple[int, Sample]:
        """Sample number -> (source number, sample)."""
        number, row = self.locate(n)
        return number, self.sources[number].read(row, random.Random(derived_seed(self._seed, n)))


def open_source(
    section: DocumentSourceSection,
    *,
    codes_of: EncodePictures | None,
    num_queries: int,
    num_codes: int,
    fingerprint: str,
    cache: Path,
    reporter: Reporter | None = None,
) -> DocumentSource:
    """A recipe's source -> the source itself, ready to be read.

    Args:
        section: The recipe's section.
        codes_of: Paths or bytes of pictures -> their codes; None where there is no visual
            tokenizer yet (words only).
        num_queries: Codes of a picture.
        num_codes: Size of the codebook.
        fingerprint: Of the visual tokenizer whose codes are read; another one's are refused.
        cache: Folder for codes of pictures and for indices of tars.
        reporter: Shows how many pictures are encoded.

    Raises:
        DataError: A source that cannot be read, or codes of another tokenizer.
    """
    how: dict[str, Any] = {
        "num_queries": num_queries,
        "text_column": section.text_column,
        "fingerprint": fingerprint,
    }
    match section.kind:
        case "tokens":
            return ShardDocuments(section.path, **how)
        case "tar":
            return TarDocuments(section.path, cache=cache, folder=Path(), **how)
    path = as_place(section.path)
    folder = as_place(section.images) if section.images else path.parent
    lines = path.suffix in (".jsonl", ".ndjson")
    source: LineDocuments | TableDocuments = (
        LineDocuments(section.path, cache=cache, folder=folder, **how)
        if lines
        else TableDocuments(section.path, split=section.split, folder=folder, **how)
    )
    if section.form != "text" and source.has_pictures():
        if codes_of is None:
            raise DataError(
                f"source {section.path} ({section.kind}, {section.form}) has pictures, and the "
                "text phase has no codes yet",
                remedy='use sources of words there: form = "text"',
            )
        name = " ".join(str(one if is_url(one) else one.resolve()) for one in (path, folder))
        source.encode_pictures(
            PictureStore(name, codes_of=codes_of, fingerprint=fingerprint, cache=cache),
            reporter=reporter,
        )
    return source
