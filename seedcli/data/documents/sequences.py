"""Documents -> token ids and labels. On the path: after wording, before packing; a prompt of
`seed chat` takes the same road.

A sequence is BOS, the pieces, and one EOS at the very end. Every piece is tokenised on its own;
within it words are split at pictures, and white space beside pictures vanishes, as released weights
were trained (`models.text_tokenizer`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from seedcli.data.documents.documents import Document, Segment
from seedcli.data.documents.left_out import LeftOutError
from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.vocab import BOI, EOI

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # PyTorch's ignored label


@dataclass(frozen=True)
class TokenSequence:
    """One document for the language model.

    Attributes:
        ids: Token ids [N], int32; BOS first.
        labels: Ids that are learned [N], int32, -100 elsewhere; the first is -100.
        image_tokens: Tokens of image spans among them.
        dropped_images: Pictures that did not fit.
        truncated: Whether anything did not fit; then there is no EOS.
        source: Number of the source that it is of.
    """

    ids: np.ndarray
    labels: np.ndarray
    image_tokens: int
    dropped_images: int
    truncated: bool
    source: int = 0


class MarkerInTextError(LeftOutError):
    """Words that hold `<img>`, `</img>` or a code token: they would pass for a picture."""


def build_sequence(
    document: Document,
    text_tokenizer: PreTrainedTokenizerBase,
    vocabulary: CodeVocabulary | None,
    max_tokens: int,
) -> TokenSequence:
    """Document -> ids and labels, at most `max_tokens`.

    A longer document ends before the first picture that does not fit, or within the words that do
    not; it then has no EOS, since it has not ended. Differs from source: upstream cuts pictures,
    learns nothing where a real `<unk>` stands (its labels are masked by value), and keeps samples
    without a label, with BOS as a label that no loss sees.

    Args:
        document: Pieces, each learned or not.
        text_tokenizer: The language model's.
        vocabulary: Where codes lie; None for words only, before the vocabulary has codes.
        max_tokens: Longest sequence, BOS and EOS included.

    Raises:
        LeftOutError: Nothing would be learned, or words hold image tokens.
        DataError: A picture with another number of codes, or with a code that the
            vocabulary does not have.
    """
    units = [
        (ids, is_image, piece.learned)
        for piece in document
        for ids, is_image in encode_segments(
            piece.segments, text_tokenizer, vocabulary, control=piece.control
        )
    ]
    bos, eos = _ends(text_tokenizer, vocabulary)
    units.append(([eos], False, bool(document) and document[-1].learned))
    ids, labels, image_tokens, dropped, truncated = [bos], [IGNORED], 0, 0, False
    for unit, is_image, learned in units:
        room = 0 if truncated else max_tokens - len(ids)
        truncated |= len(unit) > room
        if is_image and truncated:
            dropped += 1
            continue
        ids += unit[:room]
        labels += unit[:room] if learned else [IGNORED] * len(unit[:room])
        image_tokens += len(unit) if is_image else 0
    if all(label == IGNORED for label in labels):
        raise LeftOutError(
            "no room for anything that is learned: what stands before fills max_tokens"
            if truncated
            else "nothing in it is learned"
        )
    return TokenSequence(
        np.array(ids, np.int32), np.array(labels, np.int32), image_tokens, dropped, truncated
    )


def replace_read_codes(
    sequence: TokenSequence, share: float, vocabulary: CodeVocabulary, rng: random.Random
) -> TokenSequence:
    """Sequence -> the same where each code that is read and not learned gives way, with
    probability `share`, to any code.

    A small model then does not learn pictures by heart: another drawing of the same thing
    differs in some of its codes.
    """
    codes = sequence.ids - vocabulary.first_code
    read = (sequence.labels == IGNORED) & (codes >= 0) & (codes < vocabulary.num_codes)
    ids = sequence.ids.copy()
    for place in np.flatnonzero(read):
        if rng.random() < share:
            ids[place] = vocabulary.first_code + rng.randrange(vocabulary.num_codes)
    return replace(sequence, ids=ids)


def encode_prompt(
    document: Document, text_tokenizer: PreTrainedTokenizerBase, vocabulary: CodeVocabulary
) -> list[int]:
    """Document that a model is to continue -> its ids, BOS first and without EOS.

    Raises:
        DataError: Words hold image tokens, or a picture has codes that the
            vocabulary does not have.
    """
    ids = [vocabulary.bos]
    for piece in document:
        for unit, _ in encode_segments(
            piece.segments, text_tokenizer, vocabulary, control=piece.control
        ):
            ids += unit
    return ids


def encode_segments(
    segments: Sequence[Segment],
    text_tokenizer: PreTrainedTokenizerBase,
    vocabulary: CodeVocabulary | None,
    *,
    control: bool = False,
) -> list[tuple[list[int], bool]]:
    """Segments of one piece -> runs of ids, each with whether it is a picture: words between
    pictures, or BOI, codes, EOI.

    Words are words: `</s>` among them ends nothing, unless `control` says that they are a chat
    template's.

    Raises:
        MarkerInTextError: Words hold image tokens.
        DataError: A picture with codes that the vocabulary does not have, or one
            before there are codes.
    """
    runs = _join_words(segments)
    texts = [run for run in runs if isinstance(run, str)]
    encoded = iter(
        text_tokenizer(texts, add_special_tokens=False, split_special_tokens=not control)[
            "input_ids"
        ]
        if texts
        else ()
    )
    found: list[tuple[list[int], bool]] = []
    for run in runs:
        if isinstance(run, str):
            ids = next(encoded)
            # split, the markers are no tokens any more, but would be in other programs
            if vocabulary is not None and (
                BOI in run or EOI in run or vocabulary.is_image_token(np.array(ids)).any()
            ):
                reason = "words hold image tokens, which only pictures may have"
                raise MarkerInTextError(f"{reason}: {run[:60]!r}", reason=reason)
            found.append((ids, False))
        elif vocabulary is None:
            raise DataError(
                "a picture among words that are learned before the vocabulary has codes"
            )
        else:
            found.append((vocabulary.codes_to_ids(run), True))
    return found


def _join_words(segments: Sequence[Segment]) -> list[Segment]:
    """Segments -> the same with neighbouring words joined, and without white
    space beside pictures.
    """
    runs: list[Segment] = []
    for segment in segments:
        if isinstance(segment, str) and runs and isinstance(runs[-1], str):
            runs[-1] += segment
        else:
            runs.append(segment)
    for place, run in enumerate(runs):
        if isinstance(run, str):
            run = run.lstrip() if place > 0 else run
            runs[place] = run.rstrip() if place < len(runs) - 1 else run
    return [run for run in runs if run != ""]


def _ends(
    text_tokenizer: PreTrainedTokenizerBase, vocabulary: CodeVocabulary | None
) -> tuple[int, int]:
    """BOS and EOS."""
    if vocabulary is not None:
        return vocabulary.bos, vocabulary.eos
    bos, eos = text_tokenizer.bos_token_id, text_tokenizer.eos_token_id
    if bos is None or eos is None:
        raise DataError(
            "the text tokenizer names no BOS or no EOS token; a sequence opens with the one and "
            "ends with the other"
        )
    return bos, eos
