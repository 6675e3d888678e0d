"""`SeedLlama`: a language model that answers with words and images. On the path: prompt ids -> words and codes.

Generation is Hugging Face's `generate` with its KV cache; ours are left padding, the image grammar, sampling by seed and the way from ids
back to segments (`str` for words, a tuple of Q codes for an image).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from seedcli.console import Reporter
from seedcli.errors import DataError, NumericalError, UsageError
from seedcli.models.image_grammar import ImageGrammar, ImageGuidance, ImageNeed, RowBudget, SeededChoice
from seedcli.models.llm_description import LlmFacts
from seedcli.models.llm_registry import LlmFiles, locate_llm
from seedcli.models.registry import pick_device
from seedcli.models.seed_llama import no_progress_bars, set_special_ids, special_ids
from seedcli.models.text_tokenizer import CodeVocabulary, load_text_tokenizer

Quantization = Literal["8bit", "4bit"]
Part = str | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How the next token is chosen.

    Attributes:
        temperature: Of the softmax; 0 takes the likeliest token.
        top_p: Only the likeliest tokens that have this much probability together.
        num_beams: Beams of beam search; 1 is none. With a temperature, beams are sampled, as the official evaluation does.
        max_new_tokens: Longest answer, images counted with all their tokens; an image that would not fit is not begun.
        seed: Of sampling.
        guidance: Classifier-free guidance scale of the codes; 1 is none.

    Source of temperature and top_p: AILab-CVC/SEED@93b3cf4:scripts/seed_llama_inference_8B.py; of max_new_tokens: gradio_demo.
    """

    temperature: float = 1.0
    top_p: float = 0.5
    num_beams: int = 1
    max_new_tokens: int = 256
    seed: int = 0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value}, expected {expected}"
            for name, value, expected, right in (
                ("temperature", self.temperature, "0 or more", self.temperature >= 0),
                ("top_p", self.top_p, "over 0 and at most 1", 0 < self.top_p <= 1),
                ("num_beams", self.num_beams, "at least 1", self.num_beams >= 1),
                ("max_new_tokens", self.max_new_tokens, "at least 1", self.max_new_tokens >= 1),
                ("guidance", self.guidance, "at least 1", self.guidance >= 1),
            )
            if not right
        ]
        if wrong:
            raise UsageError("; ".join(wrong))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model wrote after one prompt.

    Attributes:
        ids: Its tokens, without EOS.
        segments: Words and images in their order; never two stretches of words in a row.
        ended: The model ended it itself; False where it ran out of tokens.
        malformed: Image spans of another length or with other things in them, and stray codes; left out of `segments`, 0 under the grammar.
    """

    ids: tuple[int, ...]
    segments: tuple[Part, ...]
    ended: bool
    malformed: int


class SeedLlama:
    """A language model with its text tokenizer.

    Attributes:
        model: The causal language model, in eval mode.
        text_tokenizer: Words and code tokens -> ids.
        vocabulary: Ids of codes and markers.
        facts: What its folder says of it.
    """

    def __init__(self, model: PreTrainedModel, text_tokenizer: PreTrainedTokenizerFast, vocabulary: CodeVocabulary, facts: LlmFacts):
        self.model, self.text_tokenizer, self.vocabulary, self.facts = model, text_tokenizer, vocabulary, facts
        self.max_positions: int = model.config.max_position_embeddings

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        settings: SamplingSettings,
        *,
        image: ImageNeed = "allowed",
        constrained: bool = True,
        seeds: Sequence[int] | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> list[Answer]:
        """Prompt ids, B rows of any lengths -> B answers; a row's answer does not depend on the other rows.

        A prompt may end in an open image, which the answer completes: `ids` begin with what is missing, `segments` with the image.

        Args:
            prompts: Each begins with BOS.
            settings: How tokens are chosen.
            image: Whether an answer may, must or at once must hold an image.
            constrained: Under the image grammar; False for the ablation.
            seeds: Of each row; by default `settings.seed` for every row. Sampled beams share the first.
            on_part: Hears words as they are written and each image as it is complete; for one prompt without beams.

        Raises:
            UsageError: No room in the context, an image is asked for that does not fit, or streaming is asked of several rows.
            NumericalError: The logits are not finite.
        """
        if on_part is not None and (len(prompts) > 1 or settings.num_beams > 1):
            raise UsageError("words can be streamed from one prompt without beams", remedy="--beams 1")
        if image != "allowed" and not constrained:
            raise UsageError("without the grammar an image cannot be forced", remedy="leave out --unconstrained")
        device = self.model.device
        budgets = [self._budget(prompt, settings, image) for prompt in prompts]
        length = max(map(len, prompts))
        input_ids = torch.full((len(prompts), length), self.vocabulary.pad, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for row, prompt in enumerate(prompts):
            input_ids[row, length - len(prompt) :] = torch.tensor(prompt)
            attention_mask[row, length - len(prompt) :] = 1
        seeds = [settings.seed] * len(prompts) if seeds is None else list(seeds)
        streamer = None if on_part is None else _PartStreamer(PartReader(self, _open_image(prompts[0], self.vocabulary)), on_part)
        with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            torch.manual_seed(seeds[0])  # sampled beams draw from torch's own generator
            try:
                written = self.model.generate(
                    input_ids.to(device),
                    attention_mask=attention_mask.to(device),
                    generation_config=self._generation_config(settings, max(budgets)),
                    logits_processor=self._processors(settings, image, constrained, seeds, torch.tensor(budgets, device=device), length),
                    streamer=streamer,
                )
            except RuntimeError as error:
                if "probability tensor" in str(error):
                    raise NumericalError(
                        f"the language model's logits are not finite in {self.model.dtype}", remedy=_FLOAT_ADVICE
                    ) from error
                raise
        return [
            self._answer(prompt, row[length : length + budget].tolist())
            for prompt, row, budget in zip(prompts, written, budgets, strict=True)
        ]

    def _budget(self, prompt: Sequence[int], settings: SamplingSettings, image: ImageNeed) -> int:
        """Tokens that may follow a prompt: what was asked for, as far as the context goes."""
        budget = min(settings.max_new_tokens, self.max_positions - len(prompt))
        open_image = _open_image(prompt, self.vocabulary)
        needed = self.vocabulary.span_length - len(open_image) if open_image else 1 if image == "allowed" else self.vocabulary.span_length
        if budget < needed:
            what = "an image takes" if needed > 1 else "an answer takes at least"
            raise UsageError(
                f"{what} {needed} tokens, there is room for {max(budget, 0)}: the prompt has {len(prompt)}, the model's context "
                f"{self.max_positions}, and max_new_tokens is {settings.max_new_tokens}",
                remedy="--max-new-tokens, a shorter prompt, or /reset",
            )
        return budget

    def _generation_config(self, settings: SamplingSettings, max_new_tokens: int) -> GenerationConfig:
        """Built from nothing: what a checkpoint's own file says of bos, eos, pad and sampling is not used (some are wrong)."""
        samples_beams = settings.num_beams > 1 and settings.temperature > 0
        return GenerationConfig(
            bos_token_id=self.vocabulary.bos,
            eos_token_id=self.vocabulary.eos,
            pad_token_id=self.vocabulary.pad,
            max_new_tokens=max_new_tokens,
            num_beams=settings.num_beams,
            do_sample=samples_beams,
            use_cache=True,
            **({"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0} if samples_beams else {}),
        )

    def _processors(
        self, settings: SamplingSettings, image: ImageNeed, constrained: bool, seeds: list[int], budgets: torch.Tensor, length: int
    ) -> LogitsProcessorList:
        processors = LogitsProcessorList()
        if settings.guidance > 1:
            processors.append(ImageGuidance(self.model, self.vocabulary, scale=settings.guidance, prefix=[self.vocabulary.bos]))
        budget = RowBudget(budgets, length, self.vocabulary.eos)
        processors.append(budget)
        if constrained:
            processors.append(ImageGrammar(self.vocabulary, budget, num_tokens=len(self.text_tokenizer), need=image))
        if settings.temperature > 0 and settings.num_beams == 1:
            if settings.temperature != 1:
                processors.append(TemperatureLogitsWarper(settings.temperature))
            if settings.top_p < 1:
                processors.append(TopPLogitsWarper(settings.top_p))
            processors.append(SeededChoice(seeds))
        return processors

    def _answer(self, prompt: Sequence[int], ids: list[int]) -> Answer:
        ended = self.vocabulary.eos in ids
        ids = ids[: ids.index(self.vocabulary.eos)] if ended else ids
        reader = PartReader(self, _open_image(prompt, self.vocabulary))
        parts: list[Part] = []
        for part in [*(part for token in ids for part in reader.read(token)), *reader.end()]:
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
        return Answer(ids=tuple(ids), segments=tuple(parts), ended=ended, malformed=reader.malformed)


class PartReader:
    """Tokens one by one -> words as soon as they are sure, and images when they are complete.

    Attributes:
        malformed: Image spans and stray codes that were left out so far.
    """

    def __init__(self, llm: SeedLlama, open_image: Sequence[int] = ()):
        self._text_tokenizer, self._vocabulary = llm.text_tokenizer, llm.vocabulary
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
        elif 0 <= token - vocabulary.first_code < vocabulary.num_codes:
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
            if not words.endswith("\N{REPLACEMENT CHARACTER}"):  # bytes of a character that is not whole yet
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
        return self._text_tokenizer.decode(self._words, skip_special_tokens=True) if self._words else ""

    def _give(self, words: str) -> Iterator[str]:
        if len(words) > self._given:
            yield words[self._given :]
            self._given = len(words)


class _PartStreamer(BaseStreamer):
    """Tokens as `generate` gives them -> parts for a listener."""

    def __init__(self, reader: PartReader, on_part: Callable[[Part], None]):
        self._reader, self._on_part = reader, on_part
        self._prompt_seen = self._ended = False

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token in value.reshape(-1).tolist():
            self._ended = self._ended or token == self._reader._vocabulary.eos
            if not self._ended:
                for part in self._reader.read(token):
                    self._on_part(part)

    def end(self) -> None:
        for part in self._reader.end():
            self._on_part(part)


def _open_image(prompt: Sequence[int], vocabulary: CodeVocabulary) -> list[int]:
    """Prompt ids -> BOI and the codes of an image that it ends in, or nothing."""
    for place in range(len(prompt) - 1, max(len(prompt) - vocabulary.span_length, -1), -1):
        if prompt[place] == vocabulary.boi:
            return list(prompt[place:])
        if not 0 <= prompt[place] - vocabulary.first_code < vocabulary.num_codes:
            return []
    return []


_FLOAT_ADVICE = "--dtype bfloat16 or float32: float16 overflows in some models"


def load_language_model(
    model: str = "seed-nano",
    *,
    tokenizer: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantization | None = None,
    reporter: Reporter | None = None,
) -> SeedLlama:
    """Loads a language model with its text tokenizer, in eval mode.

    Args:
        model: Preset, folder or hub id; see `llm_registry`.
        tokenizer: Visual tokenizer whose codes it speaks, where its folder says another or none.
        device: `auto`, or a torch device.
        dtype: Of the weights; `auto` is float32 on a CPU, bfloat16 on a GPU that has it, else float16.
        quantize: Weights of the linear layers in 8 or 4 bits, by bitsandbytes on an NVIDIA GPU.
        reporter: Hears of downloads.

    Raises:
        UsageError: Unknown model, device or dtype; quantisation that this machine cannot do.
        DataError: Files are missing or do not fit together.
    """
    reporter = reporter or Reporter()
    target = pick_device(device)
    options = _quantization_options(quantize, target, _dtype(dtype, target))
    return load_llm_files(locate_llm(model, tokenizer=tokenizer, reporter=reporter), device=target, options=options)


def load_llm_files(files: LlmFiles, *, device: torch.device, options: dict[str, Any]) -> SeedLlama:
    """Located files -> language model; `options` go to `from_pretrained`.

    bos, eos and pad are those of the text tokenizer: the published 8B states `<unk>` and `<s>` and pad -1, so that it would never stop at
    `</s>` and its embedding would take its last row, an image marker, for padding.
    """
    text_tokenizer = load_text_tokenizer(files.text_tokenizer)
    vocabulary = CodeVocabulary.of(text_tokenizer, files.facts.num_queries)
    if vocabulary.num_codes != files.facts.num_codes:
        raise DataError(
            f"{files.text_tokenizer} has {vocabulary.num_codes} code tokens, the visual tokenizer {files.facts.visual_tokenizer} has "
            f"{files.facts.num_codes} codes",
            remedy="--tokenizer names the visual tokenizer that belongs to this language model",
        )
    placement = {} if device.type == "cpu" else {"device_map": {"": device}}
    try:
        with no_progress_bars():
            config = AutoConfig.from_pretrained(str(files.folder), local_files_only=True)
            for name, token in special_ids(text_tokenizer).items():
                setattr(config, name, token)
            config.use_cache = True
            model = AutoModelForCausalLM.from_pretrained(
                str(files.folder), config=config, local_files_only=True, **placement, **options
            ).eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"the language model in {files.folder} cannot be loaded: {_first_line(error)}",
            remedy="the folder must be as Hugging Face's save_pretrained writes it; seed models verify checks published files",
        ) from error
    set_special_ids(model, text_tokenizer)
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < vocabulary.size:
        raise DataError(
            f"the language model in {files.folder} knows {rows} tokens, its text tokenizer in {files.text_tokenizer} has {vocabulary.size}",
            remedy="a language model without code tokens is extended by seed pretrain",
        )
    return SeedLlama(model, text_tokenizer, vocabulary, files.facts)


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def _quantization_options(quantize: Quantization | None, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is told of precision.

    Raises:
        UsageError: Quantisation without an NVIDIA GPU or without bitsandbytes; says what is missing.
    """
    if quantize is None:
        return {"dtype": dtype}
    missing = [] if device.type == "cuda" else [f"an NVIDIA GPU (this conversation runs on {device.type})"]
    missing += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if missing:
        raise UsageError(
            f"--quantize {quantize} needs {' and '.join(missing)}",
            remedy="pip install bitsandbytes, or leave out --quantize" if device.type == "cuda" else "leave out --quantize",
        )
    return {"dtype": dtype, "quantization_config": quantization_config(quantize, dtype)}


def quantization_config(quantize: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """8 bits: LLM.int8 as the official demo loads; 4 bits: NF4 with double quantisation. Embeddings and head stay as they are."""
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
