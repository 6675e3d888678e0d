"""Forms whose wording is ours: what is asked, what is answered, what is learned; and rows
that make no document.
"""

from __future__ import annotations

import random
import typing
from dataclasses import dataclass

import pytest

from seedcli.data.documents.conversations import conversation_template, read_prompts
from seedcli.data.documents.documents import Document, Message, Piece, Sample, Segment
from seedcli.data.documents.forms import FORMS, build_document, finish_sentence, has_words
from seedcli.data.documents.left_out import LeftOutError
from seedcli.recipe.language import DocumentSourceSection, Form

A, B, C, D = (tuple(range(start, start + 32)) for start in (0, 8, 16, 24))
VICUNA = conversation_template("vicuna")


@dataclass(frozen=True)
class Options:
    form: str
    image_first: float | None = None
    mask_first: bool | None = None
    swap: float | None = None
    max_images: int | None = None
    wordless: float = 0.0


def document(form: str, *segments: Segment, seed: int = 0, **options) -> Document | None:
    return build_document(
        Sample("k", segments), Options(form, **options), random.Random(seed), VICUNA
    )  # type: ignore[arg-type]


def turns(found: Document | None) -> list[tuple[str, str]]:
    """Document -> (asked, answered) with pictures as letters."""
    names = {A: "A", B: "B", C: "C", D: "D"}
    assert found is not None and [piece.learned for piece in found] == [False, True] * (
        len(found) // 2
    )
    said = [
        "|".join(part if isinstance(part, str) else names[part] for part in piece.segments)
        for piece in found
    ]
    return list(zip(said[::2], said[1::2], strict=True))


def test_every_form_of_a_recipe_is_built():
    assert set(FORMS) == set(typing.get_args(Form))
    section = DocumentSourceSection(kind="tokens", path="x", form="draw", weight=1, max_tokens=100)
    assert build_document(Sample("k", (A, "a dog")), section, random.Random(0), VICUNA) is not None


def test_drawing_requests():
    pairs = {(one["ask"], one["reply"]) for one in read_prompts()["draw"]["requests"]}
    found = set()
    for seed in range(400):
        ((asked, answered),) = turns(document("draw", A, " a red bus.. ", seed=seed))
        question, reply = (
            asked.removeprefix("USER: |").removesuffix("|\nASSISTANT:"),
            answered.removesuffix("|A"),
        )
        assert "a red bus" in question and "bus.." not in question and question[-1] in ".?"
        found.add((question.replace("a red bus", "{caption}"), reply))
    assert found == pairs


def test_edits_in_a_row():
    ((asked, answered),) = turns(document("edit", A, "make it red", B))
    assert asked == "USER: |A|make it red|\nASSISTANT:"
    assert answered.removesuffix("|B") in read_prompts()["edit"]["replies"]
    found = turns(
        document("edit", A, "make it red", B, "and bigger", "Bigger it is.", C, "now blue", D)
    )
    assert [asked for asked, _ in found] == [
        "USER: |A|make it red|\nASSISTANT:",
        "\nUSER: |and bigger|\nASSISTANT:",
        "\nUSER: |now blue|\nASSISTANT:",
    ]
    assert found[1][1] == "Bigger it is.|C" and found[2][1].endswith("|D")
    assert len({turns(document("edit", A, "x", B, seed=seed))[0][1] for seed in range(60)}) == 6


def test_differences():
    question, answer = "What is in image B but not in Image a?", "Image b has a boat"
    found = {
        turns(document("difference", A, B, question, answer, seed=seed))[0] for seed in range(20)
    }
    first, second = read_prompts()["difference"]["ordinals"]
    asked = "What is in the second image but not in The first image?"
    assert found == {
        (f"USER: |{first}|A|{second}|B|{asked}|\nASSISTANT:", "The second image has a boat."),
        (f"USER: |A|{first}|B|{second}| {asked}|\nASSISTANT:", "The second image has a boat."),
    }


def test_stories():
    found = turns(document("story", "We left early", A, "The bus was late.", B, "We walked", C))
    reply, requests = read_prompts()["story"]["reply"], read_prompts()["story"]["requests"]
    assert [answered for _, answered in found] == [f"{reply}|B", f"{reply}|C"]
    assert found[0][0].startswith("USER: |We left early|A|The bus was late. ")
    assert (
        found[1][0].removeprefix("\nUSER: |We walked. ").removesuffix("|\nASSISTANT:") in requests
    )


def test_questions_and_descriptions():
    assert turns(document("question", A, "How many dogs?", "2")) == [
        ("USER: |A|How many dogs?|\nASSISTANT:", "2.")
    ]
    assert turns(
        document("video-question", A, B, "What now?", "It rains\nQA_GT_caption_based_noisy")
    ) == [("USER: |A|B|What now?|\nASSISTANT:", "It rains.")]
    wording = read_prompts()["question"]
    assert turns(document("describe", A, "a dog")) == [
        (f"USER: |A|{wording['describe_image']}|\nASSISTANT:", "a dog.")
    ]
    assert (
        turns(document("describe", "a dog", A, B))[0][0]
        == f"USER: |A|B|{wording['describe_video']}|\nASSISTANT:"
    )


def test_captions_in_both_orders():
    orders = [
        document("caption", A, "a dog ", seed=seed, image_first=0.25, mask_first=True)
        for seed in range(400)
    ]
    first, second = (
        (Piece((A,), False), Piece(("a dog ",), True)),
        (Piece(("a dog",), False), Piece((A,), True)),
    )
    assert all(found in (first, second) for found in orders)
    assert 0.18 < sum(found == first for found in orders) / 400 < 0.32
    assert document("caption", "a dog", A, image_first=1.0, mask_first=False) == (
        Piece((A, "a dog"), True),
    )


def test_a_share_of_requests_for_a_picture_is_left_without_words():
    alone = [
        document("caption", A, "a dog", seed=seed, image_first=0.0, mask_first=True, wordless=0.3)
        for seed in range(200)
    ]
    wordless = (Piece((A,), learned=True),)
    # 60 are expected, with a deviation of 6.5
    assert 40 < sum(found == wordless for found in alone) < 80
    assert all(
        turns(found) == [("a dog", "A")]
        for found in alone
        if found != wordless and found is not None
    )
    asked = (Message("user", (A, "make it red")), Message("assistant", ("here", B)))
    named = (Message("user", ("what is it?",)), Message("assistant", ("a dog",)))
    options = Options("messages", wordless=0.3)
    found = [
        turns(
            build_document(Sample("k", messages=asked + named), options, random.Random(n), VICUNA)
        )
        for n in range(200)
    ]
    spoken = [tuple(answer for _, answer in each) for each in found]
    assert set(spoken) == {("here|B", "a dog"), ("B", "a dog")}
    assert 40 < spoken.count(("B", "a dog")) < 80
    plain, without = (found[spoken.index((first, "a dog"))] for first in ("here|B", "B"))
    assert plain[0][0].replace("|make it red", "") == without[0][0] and "A" in without[0][0]
    assert plain[1] == without[1]


@pytest.mark.parametrize(
    "changes", [{"form": "text"}, {"form": "caption", "image_first": 1.0, "mask_first": True}]
)
def test_what_has_no_requests_for_a_picture_cannot_be_left_without_words(changes):
    base = {"kind": "tokens", "path": "x", "weight": 1, "max_tokens": 100, "wordless": 0.1}
    with pytest.raises(ValueError, match="wordless"):
        DocumentSourceSection(**base | changes)


def test_found_pairs_come_shuffled_in_one_order():
    found = [
        document("retrieval-augmented", A, "a", B, "b", C, "c", seed=seed) for seed in range(60)
    ]
    for one in found:
        kinds = [isinstance(piece.segments[0], str) for piece in one]
        assert (
            kinds in ([True, False] * 3, [False, True] * 3)
            and [piece.learned for piece in one] == [False, True] * 3
        )
    assert len({one[0].segments for one in found}) == 6


@pytest.mark.parametrize(
    ("form", "segments"),
    [
        ("text", (" .;? ",)),
        ("text", ()),
        ("caption", (A,)),
        ("caption", (A, "...")),
        ("caption", (A, B, "two pictures")),
        ("interleaved", ("",)),
        ("video-caption", ("no frames",)),
        ("retrieval-augmented", (A, "a", B)),
        ("describe", (A, "one", "two")),
        ("draw", (A, B, "two pictures")),
        ("question", (A, "no answer?")),
        ("video-question", (A, "What?", "QA_GT_caption_based_noisy")),
        ("edit", ("no picture", B)),
        ("edit", (A, B)),
        ("edit", (A, "no result")),
        ("edit", (A, "one", "two", "three", B)),
        ("edit", (A,)),
        ("difference", (A, "one picture", "x")),
        ("story", ("a", A)),
        ("story", ("a", A, "b")),
        ("messages", ()),
    ],
)
def test_rows_that_make_no_document(form, segments):
    options = {
        "caption": {"image_first": 0.5, "mask_first": False},
        "interleaved": {"swap": 0.5, "max_images": 7},
    }.get(form, {})
    with pytest.raises(LeftOutError, match=rf"^no .* \(form = '{form}'\)$"):
        document(form, *segments, **options)


def test_malformed_messages_make_no_document():
    hi = ("hi",)
    for roles, reason in (
        (("user",), "ends with the assistant's answer"),
        (("assistant", "user", "assistant"), "the assistant's turn comes first"),
        (("user", "user", "assistant"), "two turns of the user in a row"),
        (("user", "assistant", "system", "user"), "a system message that is not the first"),
    ):
        sample = Sample("k", messages=tuple(Message(role, hi) for role in roles))
        with pytest.raises(LeftOutError, match=reason):
            build_document(sample, Options("messages"), random.Random(0), VICUNA)


def test_documents_follow_from_the_generator():
    rows = [
        ("draw", (A, "a dog")),
        ("edit", (A, "x", B)),
        ("difference", (A, B, "q?", "a")),
        ("story", ("a", A, "b", B)),
    ]
    for form, segments in rows:
        assert document(form, *segments, seed=5) == document(form, *segments, seed=5)
        assert len({document(form, *segments, seed=seed) for seed in range(20)}) > 1


def test_sentences():
    assert [finish_sentence(text) for text in (" a ", "a.", "a!", "a? ")] == [
        "a.",
        "a.",
        "a!",
        "a?",
    ]
    assert has_words("2") and has_words("🐈") and not has_words(' ;,[]{}."?:')
