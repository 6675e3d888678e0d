"""A language model that a benchmark asks about pictures: how it is asked, and its answers in
batches.

Everything that decides an answer is in `AskedModel.settings`, since settings are what makes
published figures hard to repeat.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from seedcli.benchmarks.image_refs import ImageRef
from seedcli.console import Reporter
from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Codes, Document, Message, Piece, Segment
from seedcli.data.documents.sequences import encode_prompt, encode_segments
from seedcli.errors import DataError, SeedError, UsageError
from seedcli.models.language.generate import SamplingSettings, SeedLlama, sampling_of
from seedcli.models.weights.llm_description import TemplateName
from seedcli.workflows.evaluate.requests import AskSettings, AskTemplate
from seedcli.workflows.evaluate.samples import sample_seed
from seedcli.workflows.evaluate.speaker import Speaker

PLAIN = "plain"
Sample = TypeVar("Sample")
_MOST_PICTURES = 32  # in one pass of the visual tokenizer


@dataclass(frozen=True)
class Example:
    """A question about a picture that was answered before, for few-shot prompts."""

    picture: Codes
    question: str
    answer: str


class AskedModel(Speaker):
    """A language model and its visual tokenizer, asked questions.

    Attributes:
        name: Of the language model.
        template: How questions are written.
        sampling: How tokens are chosen.
    """

    def __init__(self, settings: AskSettings, *, reporter: Reporter | None = None):
        """See `Speaker`.

        Raises:
            UsageError, DataError: As `Speaker`; or settings of sampling that do not exist.
        """
        sampling = SamplingSettings(
            temperature=settings.temperature,
            top_k=settings.top_k or 0,
            top_p=settings.top_p,
            num_beams=settings.num_beams,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
        )
        super().__init__(settings, reporter=reporter)
        self._made_of = functools.partial(AskedModel, settings)
        if settings.top_k is None:
            advised = sampling_of(self.facts, {}).top_k
            sampling = dataclasses.replace(sampling, top_k=advised)
        self.sampling, self.name = sampling, self.facts.name
        self.template: AskTemplate = settings.template or self.facts.template or PLAIN
        self._codes: dict[str, Codes] = {}
        self._has_answered = False

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """Everything about the model, its eyes and its decoding that decides an answer."""
        decoding = {"temperature": self.sampling.temperature, "num_beams": self.sampling.num_beams}
        if self.sampling.temperature > 0:
            decoding |= {"top_k": self.sampling.top_k, "top_p": self.sampling.top_p}
        return {
            "language_model": self.model_settings(),
            "tokenizer": self.pictures.name,
            "fingerprint": self.pictures.fingerprint,
            "preprocessing": dataclasses.asdict(self.pictures.config.preprocess.codes),
            "template": self.template,
            "decoding": decoding | {"max_new_tokens": self.sampling.max_new_tokens},
            "seed": self.sampling.seed,
        }

    @functools.cached_property
    def llm(self) -> SeedLlama:
        """The language model."""
        llm = super().llm
        hint = "; it knows emoji only, --model seed-llama-8b-sft is one for photographs"
        self._reporter.note(f"{self.name} answers{hint * (self._chosen.model == 'seed-nano')}")
        return llm

    def read(self, images: Sequence[ImageRef]) -> list[Codes]:
        """Pictures -> their codes; each is encoded once.

        Raises:
            DataError: One of them is no usable image.
        """
        new = list({each.stamp: each for each in images if each.stamp not in self._codes}.values())
        for start in range(0, len(new), _MOST_PICTURES):
            part = new[start : start + _MOST_PICTURES]
            self._codes |= {
                each.stamp: codes
                for each, codes in zip(part, self.pictures.read(part), strict=True)
            }
        return [self._codes[each.stamp] for each in images]

    def prompt(
        self, pictures: Sequence[Codes], text: str, examples: Sequence[Example] = ()
    ) -> list[int]:
        """Pictures and what is asked about them -> prompt ids: examples first, pictures before
        words, as in training.

        `plain` writes the same without turns: picture, question, answer of each example, then
        pictures and question, all without a separator, as the official few-shot evaluation of
        pretrained models does.

        Source: AILab-CVC/SEED@93b3cf4:MultiModalLLM/src/data/torchdata_train.py
        (decode_coco_cap_eval_data).

        Raises:
            DataError: Words hold image tokens.
        """
        llm = self.llm
        if self.template == PLAIN:
            segments: list[Segment] = []
            for one in examples:
                segments += [one.picture, one.question, one.answer]
            document: Document = (Piece((*segments, *pictures, text), learned=False),)
        else:
            messages: list[Message] = []
            for one in examples:
                messages += [
                    Message("user", (one.picture, one.question)),
                    Message("assistant", (one.answer,)),
                ]
            messages.append(Message("user", (*pictures, text)))
            template = cast(TemplateName, self.template)
            document = conversation_template(template, llm.text_tokenizer).prompt(messages)
        return encode_prompt(document, llm.text_tokenizer, llm.vocabulary)

    def ask_each(
        self,
        batch: Mapping[str, Sample],
        pictures: Callable[[Sample], Sequence[ImageRef]],
        ask: Callable[[str, Sample], list[int]],
        answer: Callable[[dict[str, list[int]]], list[dict[str, Any]]],
    ) -> list[dict[str, Any]]:
        """Samples by key -> their lines. One that cannot be asked (a picture that is none, words
        that hold image tokens, no room in the context) is a line of its own, `failed` saying why,
        with an empty answer; the others are answered.

        Args:
            batch: What is asked about.
            pictures: A sample's; those of the batch are encoded together.
            ask: Key and sample -> prompt ids.
            answer: Prompts by key -> a line for each.

        Raises:
            DataError, UsageError: Not one sample of several can be asked: it is no sample's fault.
        """
        with contextlib.suppress(DataError):
            self.read([picture for one in batch.values() for picture in pictures(one)])
        prompts: dict[str, list[int]] = {}
        failed: dict[str, SeedError] = {}
        for key, sample in batch.items():
            try:
                prompts[key] = self._with_room(ask(key, sample))
            except (DataError, UsageError) as error:
                failed[key] = error
        if failed and not prompts and len(batch) > 1 and not self._has_answered:
            raise next(iter(failed.values()))
        lines = dict(zip(prompts, answer(prompts), strict=True)) if prompts else {}
        self._has_answered |= bool(lines)
        for key, refused in failed.items():
            lines[key] = {"answer": "", "ended": True, "pictures": 0, "failed": refused.message}
        return [lines[key] for key in batch]

    def _with_room(self, prompt: list[int]) -> list[int]:
        most = self.llm.max_positions
        if len(prompt) >= most:
            raise UsageError(
                f"the prompt has {len(prompt)} tokens, and the model's context of {most} no room "
                "for an answer"
            )
        return prompt

    def write(self, prompts: Sequence[Sequence[int]], keys: Sequence[str]) -> list[dict[str, Any]]:
        """Prompts and keys of their samples -> `answer`, its words; `ended`, False where it ran out
        of tokens; `pictures`, images in it.

        An answer depends on its own prompt and key alone.
        """
        seeds = [sample_seed(self.sampling.seed, key) for key in keys]
        lines = []
        for answer in self.llm.generate(prompts, self.sampling, seeds=seeds):
            words = [segment for segment in answer.segments if isinstance(segment, str)]
            lines.append(
                {
                    "answer": " ".join(map(str.strip, words)),
                    "ended": answer.ended,
                    "pictures": len(answer.segments) - len(words),
                }
            )
        return lines

    def encode_answers(self, answers: Sequence[str], *, ended: bool) -> list[list[int]]:
        """Texts -> the ids that would follow a prompt, with EOS where the answer is to be `ended`.

        Raises:
            UsageError: One of them has no words.
        """
        llm, found = self.llm, []
        for answer in answers:
            if not answer.strip():
                raise UsageError("an answer without words has no likelihood")
            runs = encode_segments((answer.strip(),), llm.text_tokenizer, llm.vocabulary)
            found.append([token for ids, _ in runs for token in ids] + [llm.vocabulary.eos] * ended)
        return found
