"""Token ids and labels against 69 samples of the official builders (see data/README.md for their
origin), differences by name.

BOS is the one label left out of every comparison: upstream sets it, no loss sees it, ours is -100.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Document, Message, Piece, Sample, count_images
from seedcli.data.documents.forms import build_document, finish_sentence
from seedcli.data.documents.left_out import LeftOutError
from seedcli.data.documents.sequences import IGNORED, TokenSequence, build_sequence, encode_prompt
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.language.vocab import parse_spans
from tests.data.documents.test_forms import Options

DATA = Path(__file__).parent / "data"
CASES = {
    f"{case['name']}-{number}": case
    for number, case in enumerate(json.loads((DATA / "text_sequences.json").read_text())["cases"])
}
VICUNA = conversation_template("vicuna")


class Fixed(random.Random):
    """Draws what the fixture drew: one uniform number; lists stay in order."""

    def __init__(self, uniform: float | None):
        super().__init__(0)
        self._uniform = 0.3 if uniform is None else uniform

    def random(self) -> float:
        return self._uniform

    def shuffle(self, x: Any) -> None:
        pass


@pytest.fixture(scope="module")
def text_tokenizer():
    return load_text_tokenizer(DATA / "text_tokenizer")


@pytest.fixture(scope="module")
def vocabulary(text_tokenizer) -> CodeVocabulary:
    return CodeVocabulary.of(text_tokenizer)


def pictures(ids: list[Any]) -> list[tuple[int, ...]]:
    """Codes of a row: one picture, frames in a row, or a list of pictures."""
    if isinstance(ids[0], list):
        return [tuple(one) for one in ids]
    return [tuple(ids[start : start + 32]) for start in range(0, len(ids), 32)]


def segments(text: str) -> tuple:
    """Text with image spans -> words and pictures."""
    parts = re.split(r"(<img>.*?</img>)", text)
    return tuple(
        tuple(parse_spans(part)[0]) if part.startswith("<img>") else part for part in parts if part
    )


def turns(first: tuple, texts: list[str], *, finish: bool) -> Sample:
    """Alternating texts -> conversation, pictures before the first."""
    answers = [finish_sentence(text) if finish else text for text in texts[1::2]]
    messages = [
        message
        for number, (question, answer) in enumerate(zip(texts[::2], answers, strict=True))
        for message in (
            Message("user", (*(() if number else first), question)),
            Message("assistant", (answer,)),
        )
    ]
    return Sample("", messages=tuple(messages))


def marked(question: str, answer: str) -> list[str]:
    """The published "Question: ... Question: ..." and "Answer: ..." -> alternating texts."""
    questions, answers = (
        text.split(mark)[1:] for text, mark in ((question, "Question:"), (answer, "Answer:"))
    )
    return [text.strip() for pair in zip(questions, answers, strict=False) for text in pair]


def by_hand(*pieces: tuple[tuple, bool]) -> Document:
    return tuple(Piece(parts, learned) for parts, learned in pieces)


def document_of(case: dict[str, Any]) -> Document:
    """Published row -> our document: by our forms, or piece by piece for builders that no
    published mixture uses.
    """
    row, options, builder = (
        case["sample"],
        case["kwargs"],
        case["builder"].removeprefix("torchdata_"),
    )
    rng = Fixed((case.get("fixed_choices") or {}).get("uniform"))
    images = (
        pictures(row["image_ids"])
        if row.get("image_ids") and None not in row["image_ids"] and "texts" not in row
        else []
    )

    def form(sample: Sample, name: str, **facts: Any) -> Document | None:
        return build_document(sample, Options(name, **facts), rng, VICUNA)  # type: ignore[arg-type]

    match builder:
        case "train.decode_image_text_pair_for_llm":
            text = (
                row["metadata"][options["caption_key_in_metadata"]]
                if options.get("use_caption_in_metadata")
                else row["text"]
            )
            text = options.get("caption_prompt", "{}").format(text)
            return form(
                Sample("", (images[0], text)),
                "caption",
                image_first=options["reverse_ratio"],
                mask_first=options.get("mask_left_label", False),
            )
        case "train.decode_mmc4_data_for_llm":
            if any(
                (image is None) == (text is None)
                for image, text in zip(row["image_ids"], row["texts"], strict=True)
            ):
                raise LeftOutError("both or neither")
            parts = tuple(
                text if image is None else tuple(image)
                for image, text in zip(row["image_ids"], row["texts"], strict=True)
            )
            return form(
                Sample("", parts),
                "interleaved",
                swap=options["reverse_ratio"],
                max_images=options.get("max_images", 7),
            )
        case "train.decode_ra_data_for_llm":
            rng._uniform = 0.3 if options["reverse_ratio"] else 0.7
            pairs = [(tuple(one["image_ids"]), one["text"]) for one in (row, *row["context"])]
            if options["mask_left_label"]:
                return form(
                    Sample("", tuple(part for pair in pairs for part in pair)),
                    "retrieval-augmented",
                )
            return by_hand(
                (
                    tuple(
                        part
                        for pair in pairs
                        for part in (pair if options["reverse_ratio"] else pair[::-1])
                    ),
                    True,
                )
            )
        case "train.decode_coco_cap_eval_data":
            pairs = [
                part for one in row["context"] for part in (tuple(one["image_ids"]), one["text"])
            ]
            return by_hand(((*pairs, *images), False))
        case "train.decode_video_pair_for_llm":
            return form(Sample("", (*images, row["answer"])), "video-caption")
        case "sft.decode_video_pair_for_llm":
            return form(Sample("", (*images, row["question"], row["answer"])), "video-question")
        case "sft.decode_question_answer_pair_for_llm":
            return form(
                Sample(
                    "",
                    tuple(
                        part for part in (*images, row.get("question"), row.get("answer")) if part
                    ),
                ),
                "question",
            )
        case "sft.decode_conversation_pair_for_llm" | "sft.decode_video_conversation_pair_for_llm":
            texts = (
                []
                if "Image Descriptions" in row["question"]
                else marked(row["question"], row["answer"])
            )
            return form(turns(tuple(images), texts, finish=len(images) == 1), "messages")
        case "sft.decode_text_conversation_data_for_llm":
            return form(turns((), row.get("data", []), finish=False), "messages")
        case "sft.decode_visual_question_data_for_llm":
            texts = row.get("data") or [
                row["inputs"] if row["inputs"].strip() else row["instruction"],
                row["outputs"],
            ]
            return form(turns(tuple(images), texts, finish="data" in row), "messages")
        case "sft.decode_edit_pair_for_llm":
            parts = (
                tuple(row["source_image_ids"]),
                row["instruction_gpt"],
                row["response"],
                tuple(row["target_image_ids"]),
            )
            return form(Sample("", parts), "edit")
        case "train.decode_edit_pair_for_llm":
            instruction = (
                row["instruction"].removeprefix("Edit this image with the instruction:").lstrip()
            )
            return by_hand(
                ((tuple(row["source_image_ids"]), instruction), False),
                ((tuple(row["target_image_ids"]),), True),
            )
        case (
            "train.decode_text_conversation_data_for_llm"
            | "train.decode_visual_question_data_for_llm"
        ):
            # A template of its own: with a space after ASSISTANT:, which becomes a `▁`, and
            # pictures before or after the question.
            pieces: list[tuple[tuple, bool]] = []
            for number, text in enumerate(row["data"]):
                before = "\nUSER: " if number > 1 else "USER: "
                shown = tuple(images) if number == 0 else ()
                asked = (*shown, text) if rng.random() < 0.5 else (text, *shown)
                pieces.append(
                    ((text,), True) if number % 2 else ((before, *asked, "\nASSISTANT: "), False)
                )
            return by_hand(*pieces)
        case "train.decode_text_pretrain_data_for_llm":
            return form(Sample("", (row.get("text", ""),)), "text")
        case "sft.decode_interleaved_pair_for_llm":
            messages = (
                Message("user", segments(row["instruction"])),
                Message("assistant", segments(row["response"])),
            )
            return form(Sample("", messages=messages), "messages")
    raise AssertionError(builder)


def sequence_of(case: dict[str, Any], text_tokenizer, vocabulary) -> TokenSequence | None:
    try:
        return build_sequence(
            document_of(case), text_tokenizer, vocabulary, case["kwargs"].get("max_length", 1024)
        )
    except LeftOutError:
        return None


def published(case: dict[str, Any]) -> tuple[list[int], list[int]]:
    end = case["attention_mask_sum"]
    assert all(label == IGNORED for label in case["labels"][end:])
    return case["input_ids"][:end], case["labels"][1:end]


DIFFERENCES = {
    "a picture is cut": [
        "caption_image_first_truncated_20",
        "caption_caption_first_truncated_20",
        "caption_caption_first_truncated_40",
        "interleaved_3img_swapped_truncated",
        "edit_pretrain_truncated",
    ],
    "unk is masked by value": [
        "caption_image_first_literal_unk",
        "caption_caption_first_literal_unk",
    ],
    "a sample without a label is kept": ["qa_understanding_truncated"],
    "EOS is learned after nothing": ["conversation_image_descriptions"],
    "a question is missing": ["qa_understanding_without_question"],
    "BOI is not learned": ["caption_caption_first_mask_left"],
}
NAMED = {name for names in DIFFERENCES.values() for name in names}


def named(difference: str) -> list[dict[str, Any]]:
    found = [case for case in CASES.values() if case["name"] in DIFFERENCES[difference]]
    assert len(found) == len(DIFFERENCES[difference])
    return found


def test_every_case_is_compared():
    assert len(CASES) == 69 and {case["name"] for case in CASES.values()} >= NAMED


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name) for name, case in CASES.items() if case["name"] not in NAMED],
)
def test_as_published(case, text_tokenizer, vocabulary):
    sequence = sequence_of(case, text_tokenizer, vocabulary)
    if not case["kept_by_filter"]:
        assert sequence is None
    elif case["builder"].endswith("decode_coco_cap_eval_data"):
        assert encode_prompt(document_of(case), text_tokenizer, vocabulary) == case["input_ids"]
    else:
        ids, labels = published(case)
        assert sequence.ids.tolist() == ids
        assert sequence.labels.tolist() == [IGNORED, *labels]
        shown = sum(count_images(piece.segments) for piece in document_of(case))
        assert (
            sequence.image_tokens
            == int(vocabulary.is_image_token(sequence.ids).sum())
            == 34 * (shown - sequence.dropped_images)
        )
        assert sequence.truncated or (sequence.dropped_images == 0 and ids[-1] == vocabulary.eos)


def test_pictures_are_dropped_whole(text_tokenizer, vocabulary):
    """Upstream keeps the first tokens of a picture that does not fit, and learns them."""
    for case in named("a picture is cut"):
        ids, labels = published(case)
        cut = max(place for place, id in enumerate(ids) if id == vocabulary.boi)
        assert vocabulary.eoi not in ids[cut:]
        sequence = sequence_of(case, text_tokenizer, vocabulary)
        if all(label == IGNORED for label in labels[: cut - 1]):
            assert sequence is None
            continue
        assert sequence.ids.tolist() == ids[:cut] and sequence.labels.tolist() == [
            IGNORED,
            *labels[: cut - 1],
        ]
        dropped = 2 if case["name"].startswith("interleaved") else 1
        assert sequence.dropped_images == dropped and sequence.truncated


def test_unk_among_words_is_words(text_tokenizer, vocabulary):
    """Upstream makes it the token, and then masks it, since padding has its id."""
    for case in named("unk is masked by value"):
        ids, labels = published(case)
        sequence = sequence_of(case, text_tokenizer, vocabulary)
        place = ids.index(text_tokenizer.unk_token_id)
        assert labels[place - 1] == IGNORED
        found = sequence.ids.tolist()
        assert text_tokenizer.unk_token_id not in found and found[: place - 1] == ids[: place - 1]
        # what follows a token opens with a `▁` of its own
        assert text_tokenizer.decode(found) == text_tokenizer.decode(ids).replace("  ", " ")
        assert sequence.labels.tolist() == [IGNORED, *found[1:]]


def test_samples_without_a_label_are_dropped(text_tokenizer, vocabulary):
    """Upstream keeps them: a batch of nothing else has no loss at all (NaN)."""
    for difference in (
        "a sample without a label is kept",
        "EOS is learned after nothing",
        "a question is missing",
    ):
        for case in named(difference):
            assert case.get("kept_by_filter", False) or "TypeError" in case["raises"]
            assert sequence_of(case, text_tokenizer, vocabulary) is None


def test_boi_is_learned_where_only_the_picture_is(text_tokenizer, vocabulary):
    """Upstream masks up to BOI: such a model would never begin a picture. Its retrieval-augmented
    builder learns BOI, as ours does.
    """
    (case,) = named("BOI is not learned")
    ids, labels = published(case)
    sequence = sequence_of(case, text_tokenizer, vocabulary)
    boi = ids.index(vocabulary.boi)
    assert sequence.ids.tolist() == ids and labels[boi - 1] == IGNORED
    labels[boi - 1] = vocabulary.boi
    assert sequence.labels.tolist() == [IGNORED, *labels]
