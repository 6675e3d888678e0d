"""A language model with the visual tokenizer whose codes it speaks: what is said to it becomes
ids, what it writes becomes words and pictures. Nothing is remembered here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.documents.conversations import (
    ConversationTemplate,
    conversation_template,
    without_words,
)
from seedcli.data.documents.documents import Codes, Message
from seedcli.data.documents.sequences import MarkerInTextError, encode_prompt
from seedcli.data.images.endings import VIDEO_FRAMES
from seedcli.data.images.images import ImageSource
from seedcli.data.images.video import read_pictures
from seedcli.data.tokens.code_lines import read_code_file
from seedcli.errors import DataError, UsageError
from seedcli.models.language.answer import Answer, Part
from seedcli.models.language.generate import SamplingSettings, SeedLlama, sampling_of
from seedcli.models.language.image_grammar import ImageNeed
from seedcli.models.language.load import load_language_model, refuse_quantization
from seedcli.models.language.vocab import check_codes
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.models.weights.locate_llm import locate_llm
from seedcli.workflows.chat.pictures import ChatPictures, Drawing, check_output
from seedcli.workflows.chat.settings import UNCONDITIONAL, ChatSettings
from seedcli.workflows.chat.turns import IMAGE_MARK
from seedcli.workflows.pictures import SeedTokenizer


class ChatModel:
    """A language model, its visual tokenizer and its picture decoder, checked against each other.

    Attributes:
        settings: What it was opened with.
        facts: What the language model says of itself.
        sampling: How tokens are chosen: the user's word, else the model's, else the default.
    """

    def __init__(
        self,
        settings: ChatSettings,
        *,
        llm: SeedLlama | None = None,
        reporter: Reporter | None = None,
    ):
        """Finds the models and checks that visual tokenizer, template and options go together;
        loads nothing.

        Args:
            settings: What it is opened with.
            llm: The language model, where it is loaded already.
            reporter: Hears of downloads, and of what one should know.

        Raises:
            UsageError: Options that do not go together, or a model that was taught no
                conversations.
            DataError: Files are missing or do not fit together.
        """
        self.settings, reporter = settings, reporter or Reporter()
        # refuses what is out of range before anything else
        SamplingSettings(**settings.sampling.given())
        if settings.draws:
            check_output(settings.pictures.output)
        if llm is None:
            refuse_quantization(settings.quantize, settings.device)
            self._files = locate_llm(
                settings.model, tokenizer=settings.tokenizer, reporter=reporter
            )
            self.facts: LlmFacts = self._files.facts
        else:
            self.llm, self.facts = llm, llm.facts
        self.sampling = sampling_of(self.facts, settings.sampling.given())
        if (settings.template or self.facts.template) is None:
            raise UsageError(
                f"{self.facts.name} was not taught conversations, so nobody knows how to "
                "write one for it",
                remedy="--template vicuna or llama-2 tries it all the same; seed instruct "
                "teaches it",
            )
        self._pictures = ChatPictures(
            self.facts,
            dataclasses.replace(
                settings.pictures, device=settings.pictures.device or settings.device
            ),
            chosen=settings.tokenizer is not None,
            reporter=reporter,
        )

    def load(self) -> ChatModel:
        """Loads the language model now, so that what is wrong with its files is said; returns
        itself.

        Raises:
            UsageError, DataError: As `load_language_model`; a `negative` that cannot be read.
        """
        _ = self.llm
        if self.settings.negative is not None and self._pictures.negative is None:
            self._pictures.negative = self._negative(self.settings.negative)
        return self

    @cached_property
    def llm(self) -> SeedLlama:
        """The language model."""
        settings = self.settings
        return load_language_model(
            self._files, device=settings.device, dtype=settings.dtype, quantize=settings.quantize
        )

    @property
    def must_draw(self) -> ImageNeed:
        """How an answer holds a picture that it must hold: after words, or at once."""
        words_first = self.settings.words_first
        return (
            "required"
            if (self.facts.words_first if words_first is None else words_first)
            else "first"
        )

    @property
    def tokenizer(self) -> SeedTokenizer:
        """The visual tokenizer, which reads and draws the pictures."""
        return self._pictures.tokenizer

    @cached_property
    def _template(self) -> ConversationTemplate:
        name = self.settings.template or self.facts.template
        return conversation_template(name, self.llm.text_tokenizer)

    def read(self, image: ImageSource | Codes) -> Codes:
        """A picture in any form that `SeedTokenizer.encode` takes, or a tuple of codes -> codes.

        Raises:
            ImageError: It is no usable image.
            UsageError: Codes that are none of this model's.
        """
        if isinstance(image, tuple):
            return codes_of(self.facts, image, "attached codes")
        return self._pictures.read(image)

    def read_all(self, image: ImageSource | Codes) -> tuple[Codes, ...]:
        """As `read`; a video, which its name's ending makes one -> codes of each of its frames.

        Raises:
            ImageError, UsageError: As `read`; or it is no usable video.
        """
        if isinstance(image, tuple):
            return (self.read(image),)
        return tuple(map(self.read, read_pictures(image, VIDEO_FRAMES)))

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Messages that end with the user's -> prompt ids of the answer, as the model was taught.

        Raises:
            UsageError: Words hold image tokens, or the messages are no conversation.
        """
        try:
            return encode_prompt(
                self._template.prompt(messages), self.llm.text_tokenizer, self.llm.vocabulary
            )
        except MarkerInTextError as error:
            raise UsageError(
                str(error),
                remedy=f"/image PATH (or --image PATH) attaches a picture, {IMAGE_MARK} "
                "marks its place",
            ) from None

    def encode_wordless(self, messages: Sequence[Message]) -> list[int]:
        """As `encode`, but the user's last turn keeps its pictures alone: what code guidance moves
        away from.
        """
        return self.encode([*messages[:-1], without_words(messages[-1])])

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        draw: bool,
        *,
        sampling: SamplingSettings | None = None,
        wordless: Sequence[Sequence[int]] | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> list[Answer]:
        """Prompt ids, B rows, and a seed for each -> answers; see `SeedLlama.generate`.

        Args:
            prompts: As `encode` makes them.
            seeds: One each.
            draw: Answers must hold an image.
            sampling: In place of the model's.
            wordless: As `encode_wordless` makes them; needed with code guidance only.
            on_part: Hears words and images of one row as they come.
        """
        need = self.must_draw if draw else "allowed"
        return self.llm.generate(
            prompts,
            sampling or self.sampling,
            image=need,
            constrained=self.settings.constrained,
            seeds=seeds,
            wordless=wordless,
            on_part=on_part,
        )

    def draw(self, codes: Sequence[Codes], seeds: Sequence[int], **options: Any) -> list[Drawing]:
        """Codes of B images and a seed for each -> drawings; without pictures where the settings
        say that nothing is drawn. Options are those of `ChatPictures.draw`.

        Raises:
            DataError: The picture decoder is missing or does not fit.
        """
        if not self.settings.draws or not codes:
            return [Drawing(codes=each) for each in codes]
        return self._pictures.draw(codes, seeds, **options)

    def _negative(self, source: str) -> Codes:
        """File or `unconditional` -> codes to move away from."""
        facts = self.facts
        if source == UNCONDITIONAL:
            return self.llm.draw_unasked(self.sampling)
        images = list(read_code_file(Path(source).expanduser(), num_queries=facts.num_queries))
        if len(images) != 1:
            raise UsageError(f"--negative {source} holds {len(images)} images, expected one")
        (image,) = images
        if image.fingerprint not in (None, facts.visual_fingerprint):
            raise DataError(
                f"{image.where}: these codes were made by {image.model or 'another model'} "
                f"({image.fingerprint}), not by {facts.visual_tokenizer} "
                f"({facts.visual_fingerprint})",
                remedy=f"seed tokenize --model {facts.visual_tokenizer}",
            )
        return codes_of(facts, image.codes, image.where)


def codes_of(facts: LlmFacts, codes: Sequence[object], where: str) -> Codes:
    """Codes that come from outside -> codes of a language model's visual tokenizer.

    Raises:
        UsageError: They are none; says where they stand.
    """
    return tuple(
        check_codes(codes, num_codes=facts.num_codes, num_queries=facts.num_queries, where=where)
    )
