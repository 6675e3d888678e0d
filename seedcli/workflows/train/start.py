"""What a language model's training starts from: the model's files, whose codes it speaks and is to
speak, and whether they fit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.llm_description import FACTS_FILE, LlmFacts, read_llm_facts
from seedcli.models.weights.locate import ModelFiles


@dataclass(frozen=True, kw_only=True)
class VisualCodes:
    """Whose codes a language model speaks: its files, and what `seed.json` will say."""

    files: ModelFiles
    tokenizer: str
    fingerprint: str | None
    decoder_fingerprint: str | None
    num_queries: int
    num_codes: int


@dataclass(frozen=True, kw_only=True)
class Start:
    """Files of a language model.

    Attributes:
        folder: Configuration and weights.
        text_tokenizer: Folder of its words, which the published models have elsewhere.
        facts: What its `seed.json` says; None for a base model and for published weights.
    """

    folder: Path
    text_tokenizer: Path
    facts: LlmFacts | None


def locate_start(name: str, *, context_length: int, reporter: Reporter | None = None) -> Start:
    """`language_model.start` of a recipe -> its files: a folder, a role of `seed models`, or a hub
    id, which are downloaded.

    Raises:
        UsageError: No such folder, preset or hub id; or rows longer than the model was made for.
        DataError: Not a language model of the Llama family, or one without words.
    """
    from seedcli.models.weights.locate_llm import (
        find_llm_folder,
        find_text_tokenizer,
        has_published_rows,
        read_llama_config,
    )

    reporter = reporter or Reporter()
    folder = find_llm_folder(name, option="language_model.start", reporter=reporter)
    config = read_llama_config(folder)
    refuse_longer_rows(name, config, context_length)
    text_tokenizer = find_text_tokenizer(
        folder, is_published=has_published_rows(config), reporter=reporter
    )
    facts = read_llm_facts(folder) if (folder / FACTS_FILE).is_file() else None
    return Start(folder=folder, text_tokenizer=text_tokenizer, facts=facts)


def refuse_longer_rows(name: str, config: dict, context_length: int) -> None:
    """Checks the recipe's rows against the positions that the model was made for.

    Raises:
        UsageError: They are longer.
    """
    positions = config.get("max_position_embeddings", context_length)
    if context_length > positions:
        raise UsageError(
            f"context_length {context_length} is longer than the {positions} positions that "
            f"{name} was made for",
            remedy=f"context_length={positions}",
        )


def refuse_other_codes(
    name: str, facts: LlmFacts | None, visual: VisualCodes, *, remedy: str
) -> None:
    """Checks that a language model that speaks codes already speaks those of the
    visual tokenizer at hand.

    Args:
        name: What the recipe calls the language model.
        facts: What it says of itself; None where it says nothing.
        visual: Whose codes are to be learned.
        remedy: What to change in the recipe.

    Raises:
        DataError: It speaks other ones.
    """
    if facts is None:
        return
    speaks = (facts.num_queries, facts.num_codes, facts.visual_fingerprint or visual.fingerprint)
    if speaks != (visual.num_queries, visual.num_codes, visual.fingerprint):
        raise DataError(
            f"{name} was trained on images of {facts.num_queries} codes out of {facts.num_codes} "
            f"by {facts.visual_tokenizer} (fingerprint {facts.visual_fingerprint}); "
            f"{visual.tokenizer} makes {visual.num_queries} out of {visual.num_codes} "
            f"({visual.fingerprint})",
            remedy=remedy,
        )


def visual_codes(tokenizer: str, *, option: str, reporter: Reporter) -> VisualCodes:
    """Preset, folder or hub id of a visual tokenizer -> what there is to know of its codes; loads
    it where only its weights can tell; `option` is what the user says it with.

    Raises:
        SeedError: See `locate` and `load_seed_model`.
    """
    from seedcli.models.weights.description import DECODER_FOLDER, decoder_fingerprint
    from seedcli.models.weights.load import describe
    from seedcli.models.weights.locate import locate

    files = locate(tokenizer, option=option, reporter=reporter)
    known = describe(files)
    if known.fingerprint is None:
        from seedcli.models.weights.load import load_seed_model

        known = dataclasses.replace(
            known, fingerprint=load_seed_model(files, reporter=reporter).fingerprint
        )
    folder = files.folder
    named = Path(tokenizer).expanduser()
    return VisualCodes(
        files=files,
        # a model's description is read from other folders, too
        tokenizer=str(named.resolve()) if named.is_dir() else tokenizer,
        fingerprint=known.fingerprint,
        decoder_fingerprint=decoder_fingerprint(folder / DECODER_FOLDER) if folder else None,
        num_queries=known.config.qformer.num_queries,
        num_codes=known.config.codebook.num_codes,
    )
