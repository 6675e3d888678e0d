"""`SeedLlama`: a language model that answers with words and images. On the path: prompt
ids -> words and codes.

A prompt is ids; an answer is segments: `str` for words, a tuple of Q codes for an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from seedcli.errors import DataError, UsageError
from seedcli.models.language.answer import Answer, Part, PartReader, open_image
from seedcli.models.language.choice import Chooser
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.image_grammar import (
    GrammarTable,
    ImageGrammar,
    ImageGuidance,
    ImageNeed,
    RowBudget,
)
from seedcli.models.language.rows import Row, pad_left
from seedcli.models.language.token_loop import TokenLoop
from seedcli.models.weights.llm_description import LlmFacts

_COLDEST, _HOTTEST = 0.001, 1000  # beyond these, scores overflow or nothing changes any more
_LAST_SEED = 2**53  # what JSON and a browser's number field hold exactly


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How the next token is chosen.

    Attributes:
        temperature: Of the softmax; 0 takes the likeliest token.
        top_k: Only this many likeliest tokens, before top-p; 0 is all.
        top_p: Only the likeliest tokens that have this much probability together.
        num_beams: Beams of beam search; 1 is none. With a temperature, beams are sampled, as the
            official evaluation does.
        max_new_tokens: Longest answer, images counted with all their tokens; an image that
            would not fit is not begun.
        seed: Of sampling.
        code_guidance: Classifier-free guidance scale of image codes, away from what the model draws
            when the same is asked without words; 1 is none. It says something of models that
            were trained with requests left without words (`wordless` of a recipe's source).

    Source of temperature and top_p: AILab-CVC/SEED@93b3cf4:scripts/seed_llama_inference_8B.py; of
    max_new_tokens: gradio_demo. The script's 512 new tokens, and the top-k of 50 that it has by
    transformers' default, are advised for the published models (`locate_llm`).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.5
    num_beams: int = 1
    max_new_tokens: int = 256
    seed: int = 0
    code_guidance: float = 1.0

    def __post_init__(self) -> None:
        warm = self.temperature == 0 or _COLDEST <= self.temperature <= _HOTTEST
        wrong = [
            f"{name} is {value}, expected {expected}"
            for name, value, expected, right in (
                ("temperature", self.temperature, f"0, or {_COLDEST} to {_HOTTEST}", warm),
                ("top_k", self.top_k, "at least 0", self.top_k >= 0),
                ("top_p", self.top_p, "over 0 and at most 1", 0 < self.top_p <= 1),
                ("num_beams", self.num_beams, "at least 1", self.num_beams >= 1),
                ("max_new_tokens", self.max_new_tokens, "at least 1", self.max_new_tokens >= 1),
                ("seed", self.seed, "0 to 2^53", 0 <= self.seed <= _LAST_SEED),
                (
                    "code_guidance",
                    self.code_guidance,
                    f"1 to {_HOTTEST}",
                    1 <= self.code_guidance <= _HOTTEST,
                ),
            )
            if not right
        ]
        if wrong:
            raise UsageError("; ".join(wrong))


class SeedLlama:
    """A language model with its text tokenizer.

    Attributes:
        model: The causal language model, in eval mode.
        text_tokenizer: Words and code tokens -> ids.
        vocabulary: Ids of codes and markers.
        facts: What its folder says of it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        text_tokenizer: PreTrainedTokenizerFast,
        vocabulary: CodeVocabulary,
        facts: LlmFacts,
    ):
        self.model, self.text_tokenizer, self.vocabulary, self.facts = (
            model,
            text_tokenizer,
            vocabulary,
            facts,
        )
        self.max_positions: int = model.config.max_position_embeddings

    @torch.no_grad()
    def draw_unasked(self, settings: SamplingSettings) -> tuple[int, ...]:
        """Codes of the image that follows BOS and BOI: what the official evaluation moves away
        from.

        Source: AILab-CVC/SEED@93b3cf4:MultiModalLLM/eval/eval_caption_to_images.py.
        """
        vocabulary = self.vocabulary
        settings = dataclasses.replace(
            settings, code_guidance=1.0, max_new_tokens=vocabulary.span_length
        )
        (answer,) = self.generate([[vocabulary.bos, vocabulary.boi]], settings)
        return next(part for part in answer.segments if not isinstance(part, str))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        settings: SamplingSettings,
        *,
        image: ImageNeed = "allowed",
        constrained: bool = True,
        seeds: Sequence[int] | None = None,
        wordless: Sequence[Sequence[int]] | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> list[Answer]:
        """Prompt ids, B rows of any lengths -> B answers; a row's answer does not
        depend on the other rows.

        A prompt may end in an open image, which the answer completes: `ids` begin with what is
        missing, `segments` with the image.

        Args:
            prompts: Each begins with BOS.
            settings: How tokens are chosen.
            image: Whether an answer may, must or at once must hold an image.
            constrained: Under the image grammar; False for the ablation.
            seeds: Of each row; by default `settings.seed` for every row.
            wordless: The same requests without their words, as prompts: what code guidance moves
                away from; by default BOS alone, any picture.
            on_part: Hears words as they are written and each image as it is complete; for
                one prompt without beams.

        Raises:
            UsageError: No room in the context, an image is asked for that does not fit, or
                streaming is asked of several rows.
            NumericalError: The logits are not finite.
        """
        if on_part is not None and (len(prompts) > 1 or settings.num_beams > 1):
            raise UsageError(
                "words can be streamed from one prompt without beams", remedy="--beams 1"
            )
        if image != "allowed" and not constrained:
            raise UsageError(
                "without the grammar an image cannot be forced", remedy="leave out --unconstrained"
            )
        seeds = [settings.seed] * len(prompts) if seeds is None else list(seeds)
        if len(prompts) > 1 and settings.num_beams > 1 and settings.temperature > 0:
            # sampled beams share one generator, and an answer depends on its own seed alone
            return [
                self.generate(
                    [prompt],
                    settings,
                    image=image,
                    constrained=constrained,
                    seeds=[seed],
                    wordless=wordless and [wordless[row]],
                )[0]
                for row, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
            ]
        wordless = wordless or [[self.vocabulary.bos]] * len(prompts)
        if settings.num_beams > 1:
            budgets = [self._budget(prompt, settings, image) for prompt in prompts]
            written = self._search_beams(
                prompts, settings, image, constrained, budgets, seeds[0], wordless
            )
            return [
                self._answer(prompt, ids[:budget])
                for prompt, ids, budget in zip(prompts, written, budgets, strict=True)
            ]
        rows = [
            self.open_row(
                prompt,
                settings,
                image=image,
                constrained=constrained,
                seed=seed,
                wordless=without,
                on_part=on_part,
            )
            for prompt, seed, without in zip(prompts, seeds, wordless, strict=True)
        ]
        loop = self.open_loop()
        loop.join(rows)
        while loop.waiting or loop.rows:
            loop.step()
        return [self.close_row(row) for row in rows]

    def open_loop(self) -> TokenLoop:
        """A loop in which rows are written together; they may join and leave at any step."""
        chooser = Chooser(self.model, self.vocabulary, num_tokens=len(self.text_tokenizer))
        return TokenLoop(self.model, self.vocabulary, chooser)

    def open_row(
        self,
        prompt: Sequence[int],
        settings: SamplingSettings,
        *,
        image: ImageNeed = "allowed",
        constrained: bool = True,
        seed: int = 0,
        wordless: Sequence[int] | None = None,
        num_likeliest: int | None = None,
        last_image: int | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> Row:
        """Prompt ids -> a row for a loop.

        Args:
            prompt: Begins with BOS.
            settings: How tokens are chosen; no beams.
            image: Whether the answer may, must, at once must, or must not hold an image.
            constrained: Under the image grammar.
            seed: Of sampling.
            wordless: See `generate`.
            num_likeliest: See `Row`.
            last_image: See `Row`.
            on_part: Hears words as they are written and each image as it is complete.

        Raises:
            UsageError: No room in the context, or an image is asked for that does not fit.
        """
        return Row(
            prompt,
            settings,
            self.vocabulary,
            budget=self._budget(prompt, settings, image),
            need=image,
            constrained=constrained,
            seed=seed,
            wordless=wordless,
            num_likeliest=num_likeliest,
            last_image=last_image,
            listener=None
            if on_part is None
            else _Listener(self._reader(prompt), on_part, self.vocabulary.eos),
        )

    def close_row(self, row: Row) -> Answer:
        """A row that is done -> its answer; its listener hears what is left.

        Raises:
            NumericalError: The logits were not finite.
        """
        if row.failure is not None:
            raise row.failure
        if row.listener is not None:
            row.listener.end()
        return self._answer(row.prompt, row.written)

    def _budget(self, prompt: Sequence[int], settings: SamplingSettings, image: ImageNeed) -> int:
        """Tokens that may follow a prompt: what was asked for, as far as the context goes."""
        budget = min(settings.max_new_tokens, self.max_positions - len(prompt))
        begun, span = len(open_image(prompt, self.vocabulary)), self.vocabulary.span_length
        needed = span - begun if begun else span if image in ("required", "first") else 1
        if budget < needed:
            what = "an image takes" if needed > 1 else "an answer takes at least"
            raise UsageError(
                f"{what} {needed} tokens, there is room for {max(budget, 0)}: the prompt has "
                f"{len(prompt)}, the model's context {self.max_positions}, and max_new_tokens is "
                f"{settings.max_new_tokens}",
                remedy="--max-new-tokens, a shorter prompt, or /reset",
            )
        return budget

    def _search_beams(
        self,
        prompts: Sequence[Sequence[int]],
        settings: SamplingSettings,
        image: ImageNeed,
        constrained: bool,
        budgets: list[int],
        seed: int,
        wordless: Sequence[Sequence[int]],
    ) -> list[list[int]]:
        """Beam search by Hugging Face's `generate`, told everything: what a checkpoint's own file
        says of it is not used.
        """
        input_ids, mask = pad_left(prompts, self.vocabulary.pad)
        budget = RowBudget(budgets, input_ids.shape[1], self.vocabulary.eos)
        processors = LogitsProcessorList([budget])
        if settings.code_guidance > 1:
            guidance = ImageGuidance(
                self.model, self.vocabulary, scale=settings.code_guidance, wordless=wordless
            )
            processors.insert(0, guidance)
        if constrained:
            table = GrammarTable(self.vocabulary, num_tokens=len(self.text_tokenizer))
            processors.append(ImageGrammar(table, budget, need=image))
        device = self.model.device
        how = ("temperature", "top_k", "top_p") if settings.temperature > 0 else ()
        config = GenerationConfig(
            bos_token_id=self.vocabulary.bos,
            eos_token_id=self.vocabulary.eos,
            pad_token_id=self.vocabulary.pad,
            max_new_tokens=max(budgets),
            num_beams=settings.num_beams,
            do_sample=bool(how),
            use_cache=True,
            **{name: getattr(settings, name) for name in how},
        )
        with torch.random.fork_rng(
            [] if device.type == "cpu" else [device], device_type=device.type
        ):
            torch.manual_seed(seed)  # generate draws from torch's own generator
            found = self.model.generate(
                input_ids.to(device),
                attention_mask=mask.to(device),
                generation_config=config,
                logits_processor=processors,
            )
        return found[:, input_ids.shape[1] :].tolist()

    def _reader(self, prompt: Sequence[int]) -> PartReader:
        return PartReader(self.text_tokenizer, self.vocabulary, open_image(prompt, self.vocabulary))

    def _answer(self, prompt: Sequence[int], ids: list[int]) -> Answer:
        ended = self.vocabulary.eos in ids
        ids = ids[: ids.index(self.vocabulary.eos)] if ended else ids
        reader = self._reader(prompt)
        parts: list[Part] = []
        for part in [*(part for token in ids for part in reader.read(token)), *reader.end()]:
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
        return Answer(
            ids=tuple(ids), segments=tuple(parts), ended=ended, malformed=reader.malformed
        )


class _Listener:
    """Hands the parts of a growing answer on."""

    def __init__(self, reader: PartReader, on_part: Callable[[Part], None], eos: int):
        self._reader, self._on_part, self._eos = reader, on_part, eos

    def hear(self, token: int) -> None:
        for part in self._reader.read(token) if token != self._eos else ():
            self._on_part(part)

    def end(self) -> None:
        for part in self._reader.end():
            self._on_part(part)


def sampling_of(facts: LlmFacts, given: dict[str, Any]) -> SamplingSettings:
    """What the user gave, else what the model's folder advises, else the defaults
    of `SamplingSettings`.

    Raises:
        DataError: The folder advises settings that do not exist.
    """
    known = {each.name for each in dataclasses.fields(SamplingSettings)}
    unknown = sorted(set(facts.sampling) - known)
    if unknown:
        raise DataError(
            f"seed.json of {facts.name} advises the sampling setting {unknown[0]!r}; known are "
            f"{', '.join(sorted(known))}"
        )
    return SamplingSettings(**facts.sampling | given)
