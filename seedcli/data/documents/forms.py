"""Samples -> documents: one function for each form of `schema_llm.Form`. On the path: between a
source's rows and ids.

Orders, masks and probabilities are those of AILab-CVC/SEED@93b3cf4 (`torchdata_train.py`,
`torchdata_sft.py`); wording is data, in `prompts.toml`. Words that are nothing but punctuation make
no document, as published.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from seedcli.data.documents.conversations import (
    ConversationTemplate,
    read_prompts,
    without_words,
)
from seedcli.data.documents.documents import (
    Codes,
    Document,
    Message,
    Piece,
    Sample,
    Segment,
    count_images,
)
from seedcli.data.documents.left_out import LeftOutError
from seedcli.errors import UsageError

if TYPE_CHECKING:
    from seedcli.recipe.language import DocumentSourceSection

_NO_WORDS = string.punctuation + string.whitespace
# stands at the end of ActivityNet-QA's published answers
_ACTIVITYNET_NOTE = "QA_GT_caption_based_noisy"
_IMAGE_A_OR_B = re.compile(r"\b(?:the )?image ([ab])\b", re.IGNORECASE)


def build_document(
    sample: Sample,
    source: DocumentSourceSection,
    rng: random.Random,
    template: ConversationTemplate,
) -> Document:
    """Sample -> document in the source's form, without BOS and EOS.

    Args:
        sample: A source's row.
        source: Form and its options.
        rng: Draws orders and wordings; its state decides the document.
        template: How conversations are written.

    Raises:
        LeftOutError: The sample is malformed for the form, or has no words.
    """
    expected, write = FORMS[source.form]
    found = write(sample, source, rng)
    if not found:
        raise LeftOutError(f"no {expected} (form = {source.form!r})")
    if isinstance(found[0], Piece):
        return found
    if source.wordless:
        found = leave_wordless(found, source.wordless, rng)
    try:
        return template.render(found)
    except UsageError as error:
        raise LeftOutError(error.message, reason=error.message.partition(";")[0]) from None


def text_document(sample: Sample, *_: Any) -> Document | None:
    """Words -> words, all learned."""
    texts = _parts(sample)[1]
    text = "".join(texts)
    return (Piece((text,), learned=True),) if has_words(text) else None


def caption_document(
    sample: Sample, source: DocumentSourceSection, rng: random.Random
) -> Document | None:
    """A picture and its caption, in either order and without a separator; all learned, or with
    `mask_first` what comes second. Of the captions before a picture the share `wordless` is left
    out: such a document is a picture.

    Differs from source: with `mask_first` BOI after a caption is learned; upstream leaves it out,
    and such a model never begins a picture.
    """
    images, texts = _parts(sample)
    if len(images) != 1 or len(texts) != 1 or not has_words(texts[0]):
        return None
    words_first = rng.random() >= source.image_first
    first, second = (texts[0], images[0]) if words_first else (images[0], texts[0])
    if source.wordless and words_first and rng.random() < source.wordless:
        return (Piece((second,), learned=True),)
    return _pair(first, second, mask_first=source.mask_first)


def interleaved_document(
    sample: Sample, source: DocumentSourceSection, rng: random.Random
) -> Document | None:
    """Words and pictures as they stand on a page, all learned.

    With probability `swap` each picture changes places with what follows it. The document ends
    before picture `max_images + 1`, and with the first words after picture `max_images`.
    """
    segments = [segment for segment in sample.segments if segment]
    if rng.random() < source.swap:
        place = 0
        while place < len(segments) - 1:
            if not isinstance(segments[place], str):
                segments[place], segments[place + 1] = segments[place + 1], segments[place]
                place += 1
            place += 1
    kept: list[Segment] = []
    for segment in segments:
        full = count_images(tuple(kept)) == source.max_images
        if full and not isinstance(segment, str):
            break
        kept.append(segment)
        if full:
            break
    return (Piece(tuple(kept), learned=True),) if kept else None


def video_caption_document(sample: Sample, *_: Any) -> Document | None:
    """Frames, then the caption; only the caption is learned, since nobody asks for a video."""
    images, texts = _parts(sample)
    if not images or len(texts) != 1 or not has_words(texts[0]):
        return None
    return Piece(tuple(images), learned=False), Piece((texts[0].lstrip(),), learned=True)


def retrieval_augmented_document(
    sample: Sample, _: DocumentSourceSection, rng: random.Random
) -> Document | None:
    """A pair and the pairs found for it (pictures and captions in turn), shuffled and in one drawn
    order; what comes second is learned.
    """
    images, texts = _parts(sample)
    if not images or len(images) != len(texts) or not all(has_words(text) for text in texts):
        return None
    pairs = list(zip(images, texts, strict=True))
    rng.shuffle(pairs)
    image_first = rng.random() < 0.5
    pieces: list[Piece] = []
    for image, text in pairs:
        pieces += (
            _pair(image, text, mask_first=True)
            if image_first
            else _pair(text, image, mask_first=True)
        )
    return tuple(pieces)


def leave_wordless(messages: Sequence[Message], share: float, rng: random.Random) -> list[Message]:
    """Messages -> the same where of the turns that are answered with a picture this share keeps its
    pictures alone, asked and answered.

    The answer too: its words say what is drawn, and code guidance compares with codes that no words
    stand before.
    """
    kept = list(messages)
    for number in range(1, len(kept)):
        asked, answer = kept[number - 1 : number + 1]
        if answer.role != "assistant" or asked.role != "user" or not count_images(answer.segments):
            continue
        if rng.random() < share:
            kept[number - 1 : number + 1] = without_words(asked), without_words(answer)
    return kept


def describe(sample: Sample, *_: Any) -> list[Message] | None:
    """Picture, or frames, and caption -> the published request for a description and the
    caption as its answer.
    """
    images, texts = _parts(sample)
    if not images or len(texts) != 1 or not has_words(texts[0]):
        return None
    question = read_prompts()["question"][
        "describe_image" if len(images) == 1 else "describe_video"
    ]
    return _one_turn((*images, question), (finish_sentence(texts[0]),))


def draw(sample: Sample, _: DocumentSourceSection, rng: random.Random) -> list[Message] | None:
    """Picture and caption -> one of twenty requests to draw the caption, and its
    reply with the picture.
    """
    images, texts = _parts(sample)
    if len(images) != 1 or len(texts) != 1 or not has_words(texts[0]):
        return None
    request = rng.choice(read_prompts()["draw"]["requests"])
    caption = texts[0].strip().rstrip(".").rstrip()
    return _one_turn((request["ask"].replace("{caption}", caption),), (request["reply"], images[0]))


def answer_question(sample: Sample, *_: Any) -> list[Message] | None:
    """Picture or frames, question, answer -> pictures and question, then
    the answer as a sentence.
    """
    images, texts = _parts(sample)
    if not images or len(texts) != 2 or not has_words(texts[0]):
        return None
    answer = texts[1].replace(_ACTIVITYNET_NOTE, "").strip()
    return _one_turn((*images, texts[0]), (finish_sentence(answer),)) if answer else None


def edit(sample: Sample, _: DocumentSourceSection, rng: random.Random) -> list[Message] | None:
    """Picture, instruction, changed picture -> request and reply; any number of instructions and
    pictures in a row are as many turns.

    Words between two pictures are the instruction, or the instruction and the reply;
    without one a reply is drawn.
    """
    if not sample.segments or isinstance(sample.segments[0], str):
        return None
    messages: list[Message] = []
    words: list[str] = []
    for segment in sample.segments[1:]:
        if isinstance(segment, str):
            words.append(segment)
            continue
        if len(words) not in (1, 2) or not all(has_words(text) for text in words):
            return None
        reply = words[1] if len(words) == 2 else rng.choice(read_prompts()["edit"]["replies"])
        before = () if messages else (sample.segments[0],)
        messages += _one_turn((*before, words[0]), (reply, segment))
        words = []
    return None if words else messages


def difference(
    sample: Sample, _: DocumentSourceSection, rng: random.Random
) -> list[Message] | None:
    """Two pictures, question, answer -> each picture with its ordinal after it or, in half of the
    documents, before it; then the question.

    `image a` and `image b` in both texts become the first and the second image.
    """
    images, texts = _parts(sample)
    if len(images) != 2 or len(texts) != 2 or not all(has_words(text) for text in texts):
        return None
    wording = read_prompts()["difference"]
    named: list[Segment] = []
    before = rng.random() < 0.5
    for image, ordinal in zip(images, wording["ordinals"], strict=True):
        named += [ordinal, image] if before else [image, ordinal]
    question, answer = (_name_images(text, wording["names"]) for text in texts)
    return _one_turn(
        (*named, question if before else f" {question.lstrip()}"), (finish_sentence(answer),)
    )


def story(sample: Sample, _: DocumentSourceSection, rng: random.Random) -> list[Message] | None:
    """Captions and pictures in turn -> the first pair and the next caption with a request to draw
    it, then a turn for each that follows.
    """
    images, texts = _parts(sample)
    if len(images) < 2 or len(images) != len(texts) or not all(has_words(text) for text in texts):
        return None
    wording = read_prompts()["story"]
    messages: list[Message] = []
    for image, text in zip(images[1:], texts[1:], strict=True):
        before = () if messages else (texts[0], images[0])
        messages += _one_turn(
            (*before, f"{finish_sentence(text)} {rng.choice(wording['requests'])}"),
            (wording["reply"], image),
        )
    return messages


def finish_sentence(text: str) -> str:
    """Text -> the same without outer white space and with a final period, if it does not
    end a sentence already.
    """
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def has_words(text: str) -> bool:
    """Whether there is more than punctuation and white space."""
    return bool(text.strip(_NO_WORDS))


# Form -> what a row must hold, for those that do not, and what is made of it: pieces of a document,
# or messages that a template writes.
FORMS: dict[str, tuple[str, Callable[[Sample, DocumentSourceSection, random.Random], Any]]] = {
    "text": ("words", text_document),
    "caption": ("single picture with a caption", caption_document),
    "interleaved": ("words or pictures", interleaved_document),
    "video-caption": ("frames with a caption", video_caption_document),
    "retrieval-augmented": ("pictures with a caption each", retrieval_augmented_document),
    "messages": ("messages", lambda sample, *_: sample.messages),
    "describe": ("picture with a caption", describe),
    "draw": ("single picture with a caption", draw),
    "question": ("picture with a question and an answer", answer_question),
    "video-question": ("frames with a question and an answer", answer_question),
    "edit": ("picture with instructions, each with the changed picture", edit),
    "difference": ("two pictures with a question and an answer", difference),
    "story": ("two or more captions, each with a picture", story),
}


def _parts(sample: Sample) -> tuple[list[Codes], list[str]]:
    """Pictures and words of a sample, each in order."""
    images = [segment for segment in sample.segments if not isinstance(segment, str)]
    return images, [segment for segment in sample.segments if isinstance(segment, str)]


def _pair(first: Segment, second: Segment, *, mask_first: bool) -> Document:
    """Two segments -> one piece, or two where only the second is learned; white space between them
    goes, as tokenising at once would do.
    """
    if not mask_first:
        return (Piece((first, second), learned=True),)
    first = first.rstrip() if isinstance(first, str) else first
    return Piece((first,), learned=False), Piece(
        (second.lstrip() if isinstance(second, str) else second,), learned=True
    )


def _one_turn(asked: tuple[Segment, ...], answered: tuple[Segment, ...]) -> list[Message]:
    return [Message("user", asked), Message("assistant", answered)]


def _name_images(text: str, names: Sequence[str]) -> str:
    def name(match: re.Match[str]) -> str:
        found = names["ab".index(match.group(1).lower())]
        return found[0].upper() + found[1:] if match.group(0)[0].isupper() else found

    return _IMAGE_A_OR_B.sub(name, text)
