"""Tokens that a language model wrote -> words and images. On the path: ids -> words and codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from seedcli.models.language.code_vocabulary import CodeVocabulary

Part = str | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model wrote after one prompt.

    Attributes:
        ids: Its tokens, without EOS.
        segments: Words and images in their order; never two stretches of words in a row.
        ended: The model ended it itself; False where it ran out of tokens.
        malformed: Image spans of another length or with other things in them, and stray codes; left
            out of `segments`, 0 under the grammar.
    """

    ids: tuple[int, ...]
    segments: tuple[Part, ...]
    ended: bool
    malformed: int


def open_image(prompt: Sequence[int], vocabulary: CodeVocabulary) -> list[int]:
    """Prompt ids -> BOI and the codes of an image that it ends in, or nothing."""
    for place in range(len(prompt) - 1, max(len(prompt) - vocabulary.span_length, -1), -1):
        if prompt[place] == vocabulary.boi:
            return list(prompt[place:])
        if not vocabulary.is_code(prompt[place]):
            return []
    return []


def first_image(
    ids: Sequence[int], vocabulary: CodeVocabulary, *, opened: bool
) -> tuple[int, ...] | None:
    """Written ids -> codes of their first image span, or None where there is none or it is not
    exactly Q codes and EOI.

    Args:
        ids: An answer's.
        vocabulary: Ids of codes and markers.
        opened: The prompt ended in BOI, so that the span begins at once.

    Source: the rule by which the paper counts answers in its ablation of causal codes.
    """
    ids = list(ids)
    if not opened and vocabulary.boi not in ids:
        return None
    span = ids if opened else ids[ids.index(vocabulary.boi) + 1 :]
    length = vocabulary.num_queries
    codes, end = span[:length], span[length : length + 1]
    if end != [vocabulary.eoi] or not all(map(vocabulary.is_code, codes)):
        return None
    return tuple(vocabulary.ids_to_codes(codes))


class PartReader:
    """Tokens one by one -> words as soon as they are sure, and images when they are complete.

    Args:
        text_tokenizer: Ids -> words.
        vocabulary: Ids of codes and markers.
        open_image: BOI and the codes of an image that the prompt ended in; see `open_image`.

    Attributes:
        malformed: Image spans and stray codes that were left out so far.
    """

    def __init__(
        self,
        text_tokenizer: PreTrainedTokenizerFast,
        vocabulary: CodeVocabulary,
        open_image: Sequence[int] = (),
    ):
        self._text_tokenizer, self._vocabulary = text_tokenizer, vocabulary
        self._image: list[int] | None = list(open_image[1:]) if open_image else None
        self._words: list[int] = []
        self._given = 0
        self._faulty = False
        self.malformed = 0

    def read(self, token: int) -> Iterator[Part]:
        """One more token -> what it completes."""
        vocabulary = self._vocabulary
        if token == vocabulary.boi:
            yield from self._end_words()
            self._close_image()
            self._image = []
        elif token == vocabulary.eoi:
            codes, faulty = self._image, self._faulty
            self._image, self._faulty = None, False
            if codes is not None and len(codes) == vocabulary.num_queries and not faulty:
                yield from self._end_words()
                yield tuple(vocabulary.ids_to_codes(codes))
            else:
                self.malformed += 1
        elif vocabulary.is_code(token):
            if self._image is None:
                self.malformed += not self._faulty
                self._faulty = True  # a run of stray codes counts once
            else:
                self._image.append(token)
        elif self._image is not None:
            self._faulty = True
        else:
            self._faulty = False
            self._words.append(token)
            words = self._decode()
            # bytes of a character that is not whole yet
            if not words.endswith("\N{REPLACEMENT CHARACTER}"):
                yield from self._give(words)

    def end(self) -> Iterator[Part]:
        """What is left when no token follows."""
        self._close_image()
        yield from self._end_words()

    def _close_image(self) -> None:
        self.malformed += self._image is not None
        self._image, self._faulty = None, False

    def _end_words(self) -> Iterator[str]:
        yield from self._give(self._decode())
        self._words, self._given = [], 0

    def _decode(self) -> str:
        return (
            self._text_tokenizer.decode(self._words, skip_special_tokens=True)
            if self._words
            else ""
        )

    def _give(self, words: str) -> Iterator[str]:
        if len(words) > self._given:
            yield words[self._given :]
            self._given = len(words)
