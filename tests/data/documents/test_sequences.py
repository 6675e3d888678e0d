"""Ids and labels beyond the published samples: truncation never cuts a picture, pieces stand alone,
words cannot pass for pictures.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedcli.data.documents.documents import Document, Piece
from seedcli.data.documents.left_out import LeftOutError
from seedcli.data.documents.sequences import (
    IGNORED,
    build_sequence,
    encode_prompt,
    replace_read_codes,
)
from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import load_text_tokenizer, train_text_tokenizer
from seedcli.models.language.vocab import format_span

TEXT_TOKENIZER = load_text_tokenizer(
    Path(__file__).parents[2] / "parity" / "data" / "text_tokenizer"
)
VOCABULARY = CodeVocabulary.of(TEXT_TOKENIZER, num_queries=3)
PICTURES = st.tuples(*[st.integers(0, 63)] * 3)
WORDS = st.text(alphabet="ab \n.", max_size=12)
DOCUMENTS = st.lists(
    st.builds(
        Piece,
        st.lists(st.one_of(PICTURES, WORDS), min_size=1, max_size=5).map(tuple),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


@settings(max_examples=150, deadline=None)
@given(document=DOCUMENTS, max_tokens=st.integers(1, 60))
def test_truncation_keeps_pictures_whole(document: Document, max_tokens: int):
    try:
        full = build_sequence(document, TEXT_TOKENIZER, VOCABULARY, 10_000)
        cut = build_sequence(document, TEXT_TOKENIZER, VOCABULARY, max_tokens)
    except LeftOutError:
        return
    assert full is not None and len(cut.ids) <= max_tokens
    assert (
        cut.ids.tolist() == full.ids[: len(cut.ids)].tolist()
        and cut.labels.tolist() == full.labels[: len(cut.ids)].tolist()
    )
    opened = np.flatnonzero(cut.ids == VOCABULARY.boi)
    assert (cut.ids[opened + 4] == VOCABULARY.eoi).all() and cut.image_tokens == 5 * len(opened)
    assert cut.dropped_images == (full.ids == VOCABULARY.boi).sum() - len(opened)
    assert cut.truncated == (len(cut.ids) < len(full.ids)) == (cut.ids[-1] != VOCABULARY.eos)
    assert cut.labels[0] == IGNORED and (cut.labels != IGNORED).any()
    if cut.dropped_images == 0 and cut.truncated:
        assert len(cut.ids) == max_tokens  # words are cut exactly where room ends


@settings(max_examples=100, deadline=None)
@given(document=DOCUMENTS)
def test_a_piece_is_what_the_tokenizer_makes_of_its_text(document: Document):
    """Words and spans as one string, through the tokenizer alone, give the
    ids that we put together.
    """
    expected = [VOCABULARY.bos]
    for piece in document:
        text = "".join(
            segment if isinstance(segment, str) else format_span(segment)
            for segment in piece.segments
        )
        expected += TEXT_TOKENIZER.encode(text, add_special_tokens=False)
    assert encode_prompt(document, TEXT_TOKENIZER, VOCABULARY) == expected


def test_labels_follow_pieces():
    sequence = build_sequence(
        (Piece(("a dog", (1, 2, 3)), False), Piece(("runs",), True)),
        TEXT_TOKENIZER,
        VOCABULARY,
        100,
    )
    learned = sequence.ids[sequence.labels != IGNORED].tolist()
    assert learned == [*TEXT_TOKENIZER.encode("runs", add_special_tokens=False), VOCABULARY.eos]
    assert sequence.ids.dtype == sequence.labels.dtype == np.int32
    unlearned_end = build_sequence(
        (Piece(("runs",), True), Piece(("a dog",), False)), TEXT_TOKENIZER, VOCABULARY, 100
    )
    assert unlearned_end.ids[-1] == VOCABULARY.eos and unlearned_end.labels[-1] == IGNORED


def test_words_that_would_pass_for_pictures():
    for words in ("see <img> here", "</img>", "a <img_00003> b"):
        document = (Piece((words,), True),)
        with pytest.raises(LeftOutError) as raised:
            build_sequence(document, TEXT_TOKENIZER, VOCABULARY, 100)
        assert raised.value.reason == "words hold image tokens, which only pictures may have"
        with pytest.raises(DataError, match="words hold image tokens"):
            encode_prompt(document, TEXT_TOKENIZER, VOCABULARY)


def test_control_tokens_among_words_are_words():
    """`</s>` in what people say ends nothing; a chat template's own do."""
    words = "it ends <s>so</s> or <unk>"
    (document,) = ((Piece((words,), True),),)
    sequence = build_sequence(document, TEXT_TOKENIZER, VOCABULARY, 100)
    assert TEXT_TOKENIZER.decode(sequence.ids[1:-1]) == words
    assert [sequence.ids.tolist().count(id) for id in (VOCABULARY.bos, VOCABULARY.eos)] == [1, 1]
    template = build_sequence(
        (Piece(("a</s>b",), True, control=True),), TEXT_TOKENIZER, VOCABULARY, 9
    )
    assert template.ids.tolist().count(VOCABULARY.eos) == 2
    assert VOCABULARY.eos not in encode_prompt(document, TEXT_TOKENIZER, VOCABULARY)


def test_pictures_of_another_tokenizer():
    with pytest.raises(DataError, match="expected 3 of 0..63"):
        build_sequence((Piece(((1, 2),), True),), TEXT_TOKENIZER, VOCABULARY, 100)
    with pytest.raises(DataError, match="expected 3 of 0..63"):
        build_sequence((Piece(((1, 2, 64),), True),), TEXT_TOKENIZER, VOCABULARY, 100)


def test_words_only_before_there_are_codes():
    words_only = train_text_tokenizer(["a dog runs", "the red bus"] * 3, 290)
    sequence = build_sequence((Piece(("a dog",), True),), words_only, None, 100)
    assert sequence.ids.tolist() == [1, *words_only.encode("a dog", add_special_tokens=False), 2]
    with pytest.raises(DataError, match="before the vocabulary has codes"):
        build_sequence((Piece(("a dog", (1, 2, 3)), True),), words_only, None, 100)


@settings(max_examples=60, deadline=None)
@given(document=DOCUMENTS, seed=st.integers(0, 2**32))
def test_noise_is_for_codes_that_are_read(document: Document, seed: int):
    try:
        plain = build_sequence(document, TEXT_TOKENIZER, VOCABULARY, 10_000)
    except LeftOutError:
        return
    noisy = replace_read_codes(plain, 0.9, VOCABULARY, random.Random(seed))
    changed = noisy.ids != plain.ids
    is_code = (plain.ids >= VOCABULARY.first_code) & (
        plain.ids < VOCABULARY.first_code + VOCABULARY.num_codes
    )
    assert not (changed & ~(is_code & (plain.labels == IGNORED))).any()
    assert (
        VOCABULARY.is_image_token(noisy.ids[changed]).all()
        and not np.isin(noisy.ids[changed], [VOCABULARY.boi, VOCABULARY.eoi]).any()
    )
    assert noisy.labels.tolist() == plain.labels.tolist()
    assert (
        replace_read_codes(plain, 0.9, VOCABULARY, random.Random(seed)).ids.tolist()
        == noisy.ids.tolist()
    )


def test_noise_replaces_its_share():
    picture = Piece(((1, 2, 3),) * 400, False)
    plain = build_sequence((picture, Piece(("many",), True)), TEXT_TOKENIZER, VOCABULARY, 10_000)
    noisy = replace_read_codes(plain, 0.25, VOCABULARY, random.Random(0))
    assert 0.2 < (noisy.ids != plain.ids).sum() / 1200 < 0.28  # one in 64 is replaced by itself
