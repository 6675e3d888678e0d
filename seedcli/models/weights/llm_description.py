"""`seed.json`: which visual tokenizer and picture decoder a language model's codes
belong to. Torch-free.

It lies beside an otherwise plain Hugging Face folder, so that other programs load the
model and never see it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from seedcli.errors import DataError
from seedcli.files import publish_json
from seedcli.models.weights.description import read_description

FACTS_FILE = "seed.json"
FORMAT_VERSION = 1
TemplateName = Literal["vicuna", "llama-2", "own"]
DtypeName = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class LlmFacts:
    """What a language model's folder says of itself.

    Attributes:
        name: What messages call the model.
        visual_tokenizer: Preset, folder or hub id of the visual tokenizer whose
            codes it reads and writes.
        visual_fingerprint: Fingerprint of that tokenizer; None for published
            weights, which state none.
        decoder_fingerprint: Fingerprint of the picture decoder that belongs to them, or
            None where it is unknown.
        num_queries: Codes of one image Q.
        num_codes: Size of the codebook K.
        template: How conversations are written; None for a model that was not taught any.
        trained: Free-form facts of its training.
        sampling: Advised settings of generation, by the names of `SamplingSettings`; what is left
            out is that class's default.
        words_first: Whether it draws better after words of its own than at once, where an answer
            must hold a picture.
        dtype: Advised on a GPU; None leaves it to the GPU.
    """

    name: str
    visual_tokenizer: str
    visual_fingerprint: str | None
    num_queries: int
    num_codes: int
    decoder_fingerprint: str | None = None
    template: TemplateName | None = None
    trained: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    words_first: bool = False
    dtype: DtypeName | None = None


def read_llm_facts(folder: Path) -> LlmFacts:
    """`seed.json` of a folder -> facts; keys that a later version added are ignored.

    Raises:
        DataError: As `read_description`; or it lacks a key or has one of the wrong type.
    """
    path = folder / FACTS_FILE
    if not path.exists():
        raise DataError(
            f"{folder} has no {FACTS_FILE}, which says whose codes this language model speaks",
            remedy="seed pretrain teaches a model codes and writes it; for others seed chat and "
            "seed eval take --tokenizer seed-2",
        )
    content = read_description(path, FORMAT_VERSION)
    known = {each.name for each in fields(LlmFacts)}
    try:
        facts = LlmFacts(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise DataError(f"{path} is incomplete: {error}") from None
    kinds = {
        "name": str,
        "visual_tokenizer": str,
        "num_queries": int,
        "num_codes": int,
        "trained": dict,
        "sampling": dict,
        "words_first": bool,
    }
    for key, kind in kinds.items():
        if not isinstance(getattr(facts, key), kind):
            raise DataError(f"{path}: {key} is {getattr(facts, key)!r}, expected {kind.__name__}")
    for key, names in (("template", get_args(TemplateName)), ("dtype", get_args(DtypeName))):
        value = getattr(facts, key)
        if value is not None and value not in names:
            raise DataError(f"{path}: {key} is {value!r}, expected one of {', '.join(names)}")
    return facts


def write_llm_facts(folder: Path, facts: LlmFacts) -> None:
    """Facts -> `seed.json` in a folder; the file appears whole or not at all."""
    publish_json(folder / FACTS_FILE, {"format_version": FORMAT_VERSION, **asdict(facts)})
