"""Which files a language model's `--model` means; torch-free.

A preset, a folder as `seed pretrain` and `seed instruct` write it (a Hugging Face folder with
`seed.json`), the folder of a tokenizer that has such a one inside as `llm/`, a folder of published
weights, a hub id of either, or the folder of a LoRA adapter, whose base is one of these. On the
path: before the language model.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.files import parse_json
from seedcli.models.weights.adapter import (
    ADAPTER_FILE,
    LoraAdapter,
    is_adapter,
    read_adapter,
    refuse_adapter,
)
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.layout import LLM_FOLDER
from seedcli.models.weights.llm_description import (
    FACTS_FILE,
    LlmFacts,
    TemplateName,
    read_llm_facts,
)
from seedcli.models.weights.locate import BUNDLED_NANO, locate, names_a_repository, nowhere
from seedcli.models.weights.published import (
    ROLES,
    SEED_LLAMA_TEXT_TOKENIZER,
    SEED_LLAMAS,
    Role,
    language_model,
)

_PUBLISHED_ROWS = 40194  # AILab-CVC/SEED: 32,000 pieces, 8,192 codes, two markers
# the 8B is made of Vicuna, the 14B of Llama-2-chat
_TEMPLATE_OF_WIDTH: dict[int, TemplateName] = {4096: "vicuna", 5120: "llama-2"}
# AILab-CVC/SEED@93b3cf4:scripts/seed_llama_inference_8B.py: 512 new tokens in fp16; top-k is the
# default of transformers' sampling, which the script does not change.
_PUBLISHED_SAMPLING = {"top_k": 50, "max_new_tokens": 512}
LLM_PRESETS = ("seed-nano", *(role.name for role in SEED_LLAMAS))


@dataclass(frozen=True)
class LlmFiles:
    """The files behind one language model.

    Attributes:
        model: What the user said.
        folder: Configuration and weights.
        text_tokenizer: Folder of its text tokenizer; the published models have theirs elsewhere.
        facts: What it says of itself, with the visual tokenizer that the user chose.
        tokenizer: That one, as the user said it; None: the model's own.
        adapter: What changes the weights in `folder`, or None.
    """

    model: str
    folder: Path
    text_tokenizer: Path
    facts: LlmFacts
    tokenizer: str | None = None
    adapter: LoraAdapter | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process they are looked for anew: it may be on another machine."""
        return functools.partial(locate_llm, tokenizer=self.tokenizer), (self.model,)

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that decides what the model says."""
        return (self.folder, self.adapter.folder) if self.adapter else (self.folder,)


def locate_llm(
    model: str = "seed-nano",
    *,
    tokenizer: str | None = None,
    option: str = "--model",
    reporter: Reporter | None = None,
) -> LlmFiles:
    """Finds the files of a language model; downloads what a preset or hub id lacks.

    Args:
        model: Preset, folder or hub id.
        tokenizer: Visual tokenizer in place of the one that the model names.
        option: What the user says it with, for messages.
        reporter: Hears of downloads.

    Raises:
        UsageError: No preset, folder or hub id has this name.
        DataError: The folder holds no language model, nothing says whose codes it speaks, or
            nothing could be downloaded.
    """
    reporter = reporter or Reporter()
    folder = find_llm_folder(model, option=option, reporter=reporter)
    if is_adapter(folder):
        return _with_adapter(model, read_adapter(folder), tokenizer, reporter)
    config = read_llama_config(folder)
    facts = _facts(model, folder, config, tokenizer, reporter)
    words = find_text_tokenizer(folder, is_published=has_published_rows(config), reporter=reporter)
    return LlmFiles(model, folder, words, facts, tokenizer)


def _with_adapter(
    model: str, adapter: LoraAdapter, tokenizer: str | None, reporter: Reporter
) -> LlmFiles:
    """An adapter's files, those of its base among them; words of its own and a description of its
    own come before the base's.
    """
    option = f"base_model_name_or_path of {adapter.folder / ADAPTER_FILE}"
    folder = find_llm_folder(adapter.base, option=option, reporter=reporter)
    config = read_llama_config(folder)
    says = adapter.folder if (adapter.folder / FACTS_FILE).is_file() else folder
    facts = _facts(adapter.base, says, config, tokenizer, reporter)
    own = has_words(adapter.folder)
    words = find_text_tokenizer(
        adapter.folder if own else folder,
        is_published=has_published_rows(config),
        reporter=reporter,
    )
    named = dataclasses.replace(facts, name=_name_of(adapter.folder.resolve()))
    return LlmFiles(model, folder, words, named, tokenizer, adapter)


def find_llm_folder(model: str, *, option: str, reporter: Reporter) -> Path:
    """Folder of a language model's configuration and weights, with codes or without; downloads what
    a preset or hub id lacks.

    Raises:
        UsageError: No preset, folder or hub id has this name.
        DataError: There is no such folder, or nothing could be downloaded.
    """
    from seedcli.models.weights.download import fetch

    here = _named_folder(model)
    if here is not None:
        return here
    if role := hub_role(model):
        return fetch(role, reporter=reporter)
    if model == "seed-nano":
        raise DataError(
            "this installation has no bundled language model (looked in "
            f"{BUNDLED_NANO / LLM_FOLDER})",
            remedy="seed pretrain nano-pretrain and seed instruct nano-instruct make one; "
            f"{option} takes its folder",
        )
    raise nowhere(model, "language model", LLM_PRESETS, option)


def find_llm_here(model: str) -> Path | None:
    """The same folder where it lies on this disk already; nobody is asked."""
    from seedcli.models.weights.download import find_local

    if (here := _named_folder(model)) is not None:
        return here
    found = find_local(role) if (role := hub_role(model)) else None
    return found and found[1]


def _named_folder(model: str) -> Path | None:
    """A folder that the user names, or the bundled one."""
    path = Path(model).expanduser()
    if path.is_dir():
        inner = path / LLM_FOLDER
        return inner if (inner / "config.json").is_file() and not _has_config(path) else path
    bundled = BUNDLED_NANO / LLM_FOLDER
    return bundled if model == "seed-nano" and _has_config(bundled) else None


def _has_config(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def hub_role(model: str) -> Role | None:
    """What is fetched for a preset or a hub id; None for what is neither."""
    if model in ROLES and ROLES[model].kind == "language-model":
        return ROLES[model]
    return language_model(model) if names_a_repository(model) else None


def read_llama_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a language model of the Llama family.

    Raises:
        DataError: There is none, it cannot be read, it lacks its sizes, or it is
            of another architecture.
    """
    path = folder / "config.json"
    if folder.is_dir():
        refuse_adapter((each.name for each in folder.iterdir()), folder)
    try:
        config = parse_json(path.read_bytes())
        kind = config.get("model_type", "llama")
        sizes = (
            {name: config[name] for name in ("vocab_size", "hidden_size")}
            if kind == "llama"
            else {}
        )
    except FileNotFoundError:
        here = ", ".join(sorted(each.name for each in folder.iterdir())[:12]) or "nothing"
        raise DataError(
            f"{folder} holds no language model: expected config.json and weights as Hugging Face "
            f"saves them; found {here}",
            remedy="name a folder that holds them, or a hub id",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no language model's configuration: {type(error).__name__}: {error}"
        ) from None
    if kind != "llama" or not all(isinstance(size, int) for size in sizes.values()):
        raise DataError(
            f"{path} describes a model of type {kind} {sizes or ''}".rstrip()
            + ", expected llama with its sizes",
            remedy="take a model of the Llama family: Vicuna, Llama 2, or what seed pretrain wrote",
        )
    return config


def has_published_rows(config: dict[str, Any]) -> bool:
    """Whether a model has the rows of the published SEED-LLaMA checkpoints: it speaks seed-2's
    codes, and has no words of its own.
    """
    return config["vocab_size"] == _PUBLISHED_ROWS


def has_words(folder: Path) -> bool:
    """Whether a folder has a text tokenizer."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


def find_text_tokenizer(folder: Path, *, is_published: bool, reporter: Reporter) -> Path:
    """Folder of a language model's words: its own, or that of the published
    models, which come without.

    Raises:
        DataError: It has none and is no published model, or nothing could be downloaded.
    """
    from seedcli.models.weights.download import fetch

    if has_words(folder):
        return folder
    if is_published:
        return fetch(SEED_LLAMA_TEXT_TOKENIZER, reporter=reporter)
    raise DataError(
        f"{folder} has no text tokenizer (tokenizer.json or tokenizer.model)",
        remedy="copy tokenizer.json (or tokenizer.model) and tokenizer_config.json into it from "
        "where the model comes from",
    )


def _facts(
    model: str, folder: Path, config: dict[str, Any], tokenizer: str | None, reporter: Reporter
) -> LlmFacts:
    """`seed.json`, or what is known of published weights; the user's visual tokenizer wins.

    The published pretrained models were taught no conversation, and their configurations do not
    tell them from the tuned ones: their name does.
    """
    if (folder / FACTS_FILE).is_file():
        facts = read_llm_facts(folder)
        beside = folder / facts.visual_tokenizer
        if tokenizer is None and beside.is_dir():
            return dataclasses.replace(facts, visual_tokenizer=str(beside.resolve()))
        return (
            facts if tokenizer is None else dataclasses.replace(facts, visual_tokenizer=tokenizer)
        )
    name = model if model in LLM_PRESETS else _name_of(folder.resolve())
    published = has_published_rows(config)
    if published:
        visual = tokenizer or "seed-2"
        template = (
            None if name.endswith("pretrain") else _TEMPLATE_OF_WIDTH.get(config["hidden_size"])
        )
    elif tokenizer is not None:
        visual, template = tokenizer, None
    else:
        return read_llm_facts(folder)  # says that there is no description, and what to type
    sizes = locate(visual, reporter=reporter).config
    return LlmFacts(
        name=name,
        visual_tokenizer=visual,
        visual_fingerprint=None,
        num_queries=sizes.qformer.num_queries,
        num_codes=sizes.codebook.num_codes,
        template=template,
        sampling=dict(_PUBLISHED_SAMPLING) if published else {},
        dtype="float16" if published else None,
    )


def _name_of(folder: Path) -> str:
    """What a folder is called; the hub's cache calls it by its commit, two below the repository."""
    if folder.name == LLM_FOLDER:
        folder = folder.parent
    cached = folder.parent.name == "snapshots"
    return folder.parents[1].name.rpartition("--")[2] if cached else folder.name


def check_visual_tokenizer(
    facts: LlmFacts,
    visual: ModelFacts,
    *,
    chosen: bool,
    reporter: Reporter,
    remedy: str = "--tokenizer names the visual tokenizer that the language model was trained with",
    insistence: str = "naming this one goes on all the same",
) -> None:
    """Refuses a visual tokenizer whose codes are not the ones that the language model speaks.

    Args:
        facts: The language model's.
        visual: The visual tokenizer's; its fingerprint is None while only its weights could tell.
        chosen: The user named it, so that a differing fingerprint is a warning only.
        reporter: Hears the warning.
        remedy: What to type in place of it.
        insistence: How the user would name it.

    Raises:
        DataError: Codes of another number, or of another fingerprint without the user's word.
    """
    config = visual.config
    sizes = (config.qformer.num_queries, config.codebook.num_codes)
    if sizes != (facts.num_queries, facts.num_codes):
        raise DataError(
            f"{facts.name} speaks images of {facts.num_queries} codes out of {facts.num_codes}, "
            f"{config.name} makes {sizes[0]} out of {sizes[1]}",
            remedy=remedy,
        )
    if facts.visual_fingerprint is None or visual.fingerprint in (None, facts.visual_fingerprint):
        return
    message = (
        f"{facts.name} was trained on codes of fingerprint {facts.visual_fingerprint}, the visual "
        f"tokenizer {config.name} makes codes of {visual.fingerprint}"
    )
    if not chosen:
        raise DataError(message, remedy=f"{remedy}; {insistence}")
    reporter.warn(message)
