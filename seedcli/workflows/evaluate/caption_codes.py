"""Captions -> codes, by a language model: what text-to-image benchmarks ask, worded as the model
was taught, every setting recorded.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from seedcli.console import Reporter
from seedcli.data.documents.conversations import conversation_template, read_prompts
from seedcli.data.documents.documents import Codes, Message, Piece
from seedcli.data.documents.sequences import encode_prompt
from seedcli.data.emoji import with_article
from seedcli.errors import UsageError
from seedcli.models.language.answer import first_image
from seedcli.models.language.generate import SamplingSettings, SeedLlama, sampling_of
from seedcli.models.language.image_grammar import ImageNeed
from seedcli.workflows.evaluate.requests import CaptionSettings, PromptKind
from seedcli.workflows.evaluate.samples import sample_seed
from seedcli.workflows.evaluate.speaker import Speaker

PLACES = ("{caption}", "{thing}")
EMOJI_REQUEST = "Draw {thing}."  # what seed-nano is taught first; tools/nano/prompts.toml
# AILab-CVC/SEED@93b3cf4:MultiModalLLM/eval/eval_caption_to_images.py, temperature 0
OFFICIAL_BEAMS, OFFICIAL_MAX_NEW_TOKENS = 4, 120


class CaptionDrawer(Speaker):
    """A language model that is asked for pictures; its weights are loaded with the first batch.

    Attributes:
        prompt: The kind of prompt that it gets.
        request: Words of a request; None where it gets captions.
        sampling: How tokens are chosen.
    """

    def __init__(
        self,
        settings: CaptionSettings,
        *,
        emoji: bool = False,
        steps: int | None = None,
        guidance: float | None = None,
        reporter: Reporter | None = None,
    ):
        """Finds the language model and settles how it is asked.

        Args:
            settings: How captions are asked.
            emoji: They name emoji, and a request is worded as `seed-nano` was taught.
            steps: See `Speaker`.
            guidance: See `Speaker`.
            reporter: Hears of downloads.

        Raises:
            UsageError: Settings out of range, a request without its caption, or one to a model that
                was taught no conversations.
            DataError: As `Speaker`.
        """
        self._settings = settings
        if settings.request is not None and not any(place in settings.request for place in PLACES):
            raise UsageError(
                f"--request {settings.request!r} has no place for the caption",
                remedy='--request "Draw {caption}."',
            )
        # refuses what is out of range before anything is looked for
        SamplingSettings(**settings.sampling.given())
        super().__init__(settings, steps=steps, guidance=guidance, reporter=reporter)
        self._made_of = functools.partial(
            CaptionDrawer, settings, emoji=emoji, steps=steps, guidance=guidance
        )
        facts = self.facts
        self.prompt: PromptKind = settings.prompt or (
            "caption" if facts.template is None else "request"
        )
        if self.prompt == "request" and facts.template is None:
            raise UsageError(
                f"{facts.name} was taught no conversations, so it cannot be sent a request",
                remedy="--prompt caption",
            )
        if self.prompt == "caption" and settings.request is not None:
            raise UsageError(
                "--request words a request, and the prompt is the caption alone",
                remedy="--prompt request",
            )
        published = EMOJI_REQUEST if emoji else read_prompts()["draw"]["requests"][0]["ask"]
        self.request = (settings.request or published) if self.prompt == "request" else None
        advised = sampling_of(facts, {})
        official = {
            "temperature": 0.0,
            "top_k": advised.top_k,
            "top_p": 1.0,
            "num_beams": OFFICIAL_BEAMS,
            "max_new_tokens": self._max_new_tokens(),
            "code_guidance": advised.code_guidance,
        }
        self.sampling = SamplingSettings(
            **official | settings.sampling.given() | {"seed": settings.seed}
        )

    def _max_new_tokens(self) -> int:
        """After an open image the grammar needs Q codes and EOI; where words may come first, or
        nothing is forced, the official length.
        """
        only_image = self.prompt == "caption" and self._settings.constrained
        return self.facts.num_queries + 1 if only_image else OFFICIAL_MAX_NEW_TOKENS

    def settings(self) -> dict[str, Any]:
        """What decides codes, for the settings of a run."""
        return {
            "language_model": self.model_settings(),
            "prompt": {"kind": "caption", "text": "<s>{caption}<img>"}
            if self.request is None
            else {"kind": "request", "text": self.request, "template": self.facts.template},
            "decoding": dataclasses.asdict(self.sampling),
            "constrained": self._settings.constrained,
        }

    def codes(self, captions: Mapping[str, str]) -> list[dict[str, Any]]:
        """Captions by key -> a line each: `codes` of the first image or None, its `words`, whether
        it `ended`, how many `malformed` spans.

        An answer is valid where its first image span is exactly Q codes and EOI; under
        the grammar every one is.

        Raises:
            UsageError: The context has no room for caption and picture.
            DataError: A caption holds image tokens.
        """
        prompts = [self._ids(caption) for caption in captions.values()]
        seeds = [sample_seed(self.sampling.seed, key) for key in captions]
        asked = self.prompt == "request" and self._settings.constrained
        need: ImageNeed = "required" if asked else "allowed"
        # a caption without its words is BOS alone, which is what guidance takes by itself
        wordless = None if self.request is None else [self._asked(())] * len(prompts)
        answers = self.llm.generate(
            prompts,
            self.sampling,
            image=need,
            constrained=self._settings.constrained,
            seeds=seeds,
            wordless=wordless,
        )
        found: Sequence[Codes | None] = [
            first_image(answer.ids, self.llm.vocabulary, opened=self.prompt == "caption")
            for answer in answers
        ]
        return [
            {
                "codes": None if codes is None else list(codes),
                "words": " ".join(
                    part for part in answer.segments if isinstance(part, str)
                ).strip(),
                "ended": answer.ended,
                "malformed": answer.malformed,
            }
            for answer, codes in zip(answers, found, strict=True)
        ]

    def _ids(self, caption: str) -> list[int]:
        llm = self.llm
        if self.request is None:
            return caption_prompt(llm, caption)
        words = caption.strip().rstrip(".").rstrip()
        asked = self.request.replace("{caption}", words).replace("{thing}", with_article(words))
        return self._asked((asked,))

    def _asked(self, words: tuple[str, ...]) -> list[int]:
        template = conversation_template(self.facts.template, self.llm.text_tokenizer)
        return encode_prompt(
            template.prompt([Message("user", words)]), self.llm.text_tokenizer, self.llm.vocabulary
        )


def caption_prompt(llm: SeedLlama, caption: str) -> list[int]:
    """Caption -> ids of BOS, caption, BOI, as pretraining writes a pair.

    Raises:
        DataError: A caption holds image tokens.
    """
    return [
        *encode_prompt(
            (Piece((caption.strip(),), learned=False),), llm.text_tokenizer, llm.vocabulary
        ),
        llm.vocabulary.boi,
    ]
