"""The first K codes of an image -> a whole one: what the causal order has said by then,
with the rest filled in.

The mean code vector of each position says nothing more; a language model says what usually follows.
Either shows what K codes hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.errors import SeedError, UsageError
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.locate_llm import LlmFiles, check_visual_tokenizer, locate_llm

if TYPE_CHECKING:
    from torch import Tensor

    from seedcli.models.language.generate import SeedLlama
    from seedcli.models.visual.model import SeedModel
    from seedcli.workflows.pictures import SeedTokenizer

_SAME = 1e-6  # a mean of positions that is the codebook's own mean was never learned


def locate_filling_llm(
    llm: str | None, model: str, *, reporter: Reporter | None = None
) -> LlmFiles:
    """The language model that completes codes of a tokenizer: the named one, else the one that
    belongs to `model`. Torch-free.

    Raises:
        UsageError: Nothing is named and the tokenizer has no language model of its own,
            or none has this name.
        DataError: The folder holds no language model.
    """
    if llm is None and model == "seed-2":
        raise UsageError(
            "several language models speak the codes of seed-2",
            remedy="--llm seed-llama-8b-sft names one",
        )
    try:
        return locate_llm(llm or model, reporter=reporter)
    except SeedError as error:
        which = f"--llm {llm}" if llm else f"the language model of {model}"
        raise type(error)(
            f"{which}: {error.message}", remedy="--llm names one: a preset, a folder or a hub id"
        ) from None


def check_filling_llm(
    files: LlmFiles, model: ModelFacts, *, force: bool, reporter: Reporter
) -> None:
    """Refuses a language model whose codes are not those of the visual tokenizer.

    Args:
        files: The language model's.
        model: The visual tokenizer's; without a fingerprint only sizes are compared.
        force: Go on where fingerprints differ.
        reporter: Hears of it then.

    Raises:
        DataError: Codes of another number, or of another fingerprint.
    """
    check_visual_tokenizer(
        files.facts,
        model,
        chosen=force,
        reporter=reporter,
        remedy="--llm with the language model that was trained on the codes of "
        f"{model.config.name}",
        insistence="or --force",
    )


def prefix_embedding(
    tokenizer: SeedTokenizer,
    codes_only: int,
    *,
    llm: LlmFiles | None,
    device: str = "auto",
    reporter: Reporter,
) -> Callable[[Sequence[Sequence[int]], Sequence[int]], tuple[Tensor, list[Codes] | None]]:
    """A function: codes [B,Q] and a seed for each -> generation embeddings [B,G] of the first
    `codes_only`, and the completed codes [B,Q].

    Args:
        tokenizer: The visual tokenizer; what its first codes cannot show is said.
        codes_only: How many codes are kept.
        llm: The language model that completes them; for None mean code vectors do, and there
            are no completed codes.
        device: Where the language model computes.
        reporter: Hears what one should know.
    """
    _warn_of_prefixes(tokenizer.facts, codes_only, reporter)
    if llm is None:
        import torch

        model = tokenizer.model
        fill = mean_code_vectors(model, reporter)
        return lambda codes, seeds: (
            embed_prefixes(model, torch.tensor(codes), codes_only, fill),
            None,
        )
    from seedcli.models.language.load import load_language_model

    speaker = load_language_model(llm, device=device)
    reporter.note(f"{speaker.facts.name} completes the first {codes_only} codes")

    def complete(
        codes: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> tuple[Tensor, list[Codes]]:
        completed = complete_codes(speaker, codes, codes_only, seeds=seeds)
        return tokenizer.generation_embeddings(completed), completed

    return complete


def _warn_of_prefixes(model: ModelFacts, codes_only: int, reporter: Reporter) -> None:
    if model.config.qformer.mask == "bilateral":
        reporter.warn(
            f"the codes of {model.config.name} are bilateral: the first {codes_only} depend on the "
            "others and are no prefix"
        )
    if not model.trained.get("trained_with_prefixes"):
        reporter.warn(
            f"{model.config.name} was not trained on prefixes of its codes: {codes_only} codes "
            "show less than they could"
        )


def mean_code_vectors(tokenizer: SeedModel, reporter: Reporter) -> Tensor:
    """Mean code vector of each position [Q,E]; the codebook's mean where the weights
    carry none, and it says so.
    """
    fill = tokenizer.codebook.position_mean
    mean_row = tokenizer.codebook.embedding.float().mean(0)
    if not fill.any() or bool((fill.float() - mean_row).abs().max() < _SAME):
        reporter.warn(
            "these weights carry no mean code vector of each position; the mean of the "
            "codebook fills instead"
        )
        fill = mean_row.expand_as(fill)
    return fill


def embed_prefixes(tokenizer: SeedModel, codes: Tensor, codes_only: int, fill: Tensor) -> Tensor:
    """Codes [B,Q] -> generation embeddings [B,G]; code vectors from position `codes_only` on are
    the rows of `fill` [Q,E].
    """
    vectors_BQE = tokenizer.codebook.code_vectors(codes).clone()
    vectors_BQE[:, codes_only:] = fill[codes_only:]
    return tokenizer.decode_vectors(vectors_BQE)


def complete_codes(
    llm: SeedLlama, codes: Sequence[Sequence[int]], codes_only: int, *, seeds: Sequence[int]
) -> list[Codes]:
    """Codes of B images -> the first `codes_only` of each, continued by the language model
    under the image grammar.

    Sampling is what the model's folder advises, without beams and guidance; row i draws with
    `seeds[i]` and depends on no other row.
    """
    from seedcli.models.language.generate import sampling_of

    vocabulary = llm.vocabulary
    if codes_only >= vocabulary.num_queries:
        return [tuple(image) for image in codes]
    advised = sampling_of(llm.facts, {})
    settings = dataclasses.replace(
        advised, num_beams=1, code_guidance=1.0, max_new_tokens=vocabulary.span_length
    )
    prompts = [
        [vocabulary.bos, *vocabulary.codes_to_ids(image)[: 1 + codes_only]] for image in codes
    ]
    answers = llm.generate(prompts, settings, seeds=seeds)
    return [
        next(part for part in answer.segments if not isinstance(part, str)) for answer in answers
    ]
