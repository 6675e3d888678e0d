"""Every kind of file that commands read: a whole one, how it is damaged, and what reads it then."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.torture.mutations import as_json, changed_value, edited, edits, value_changes
from tests.torture.picture_files import PICTURES, TABLES, TARS, VIDEOS
from tests.torture.subject import NANO, Subject, whole

# --- token shards ---


def _write_shard(damage: Any, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, how, change = damage
    path = folder.parent / "whole" / f"{name}.parquet"
    if how == "bytes":
        (folder / "a.parquet").write_bytes(edited(path.read_bytes(), change))
        return
    table = pq.read_table(path)
    text = pq.ParquetFile(path).metadata.metadata[b"seed"]
    if how == "header":
        text = as_json(changed_value(json.loads(text), change))
    if how == "column":
        number, kind = change
        column = table.column_names[number % table.num_columns]
        values = _COLUMNS[kind](pa, len(table))
        place = table.column_names.index(column)
        table = table.set_column(place, pa.field(column, values.type), values)
    pq.write_table(table.replace_schema_metadata({"seed": text}), folder / "a.parquet")


_COLUMNS: dict[str, Callable[[Any, int], Any]] = {
    "floats": lambda pa, n: pa.array([[1.5] * 32] * n, pa.list_(pa.float32(), 32)),
    "NaN": lambda pa, n: pa.array([[float("nan")] * 32] * n, pa.list_(pa.float64(), 32)),
    "negative": lambda pa, n: pa.array([[-1] * 32] * n, pa.list_(pa.int16(), 32)),
    "out of range": lambda pa, n: pa.array([[65535] * 32] * n, pa.list_(pa.uint16(), 32)),
    "ragged": lambda pa, n: pa.array([[1] * k for k in range(n)], pa.list_(pa.uint16())),
    "null codes": lambda pa, n: pa.array([[None] * 32] * n, pa.list_(pa.uint16(), 32)),
    "nulls": lambda pa, n: pa.nulls(n),
    "text": lambda pa, n: pa.array(["a"] * n),
    "missing text": lambda pa, n: pa.array([None] * n, pa.string()),
    "bytes": lambda pa, n: pa.array([b"\xff\xfe"] * n),
    "numbers": lambda pa, n: pa.array(list(range(n))),
    "times": lambda pa, n: pa.array([2**62] * n, pa.timestamp("us")),
    "empty lists": lambda pa, n: pa.array([[]] * n, pa.list_(pa.struct([("text", pa.string())]))),
}


def _shard_must_fail(damage: Any, command: list[str]) -> bool:
    """A column of another kind is no shard; of text, another text may be as good."""
    _, how, change = damage
    good = {"text", "missing text"}
    return command[:2] == ["tokens", "verify"] and how == "column" and change[1] not in good


SHARDS = Subject(
    "token shards",
    st.tuples(
        st.sampled_from(["images", "segments", "messages"]),
        st.sampled_from(["bytes", "header", "column"]),
        st.none(),
    ).flatmap(
        lambda two: st.tuples(
            st.just(two[0]),
            st.just(two[1]),
            {
                "bytes": edits(),
                "header": value_changes(),
                "column": st.tuples(st.integers(0, 9), st.sampled_from(sorted(_COLUMNS))),
            }[two[1]],
        )
    ),
    _write_shard,
    lambda damage: [
        ["tokens", "verify", "a.parquet"],
        ["tokens", "info", "a.parquet"],
        ["tokens", "head", "a.parquet"],
        ["tokens", "stats", "a.parquet"],
        ["tokens", "merge", "a.parquet", "-o", "merged.parquet"],
        ["tokens", "merge", "a.parquet", "-o", "merged", "--shard-size", "2"],
    ],
    _shard_must_fail,
)


# --- model folders ---


def _linked(source: Path, target: Path) -> None:
    """A copy whose files are links: what is damaged is replaced, never written into."""
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)


def _replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _write_folder(source: Path, damage: Any, folder: Path) -> None:
    name, how, change = damage
    _linked(source, folder / "model")
    path = folder / "model" / name
    if how == "missing":
        path.unlink()
    elif how == "bytes":
        _replace(path, edited(path.read_bytes(), change))
    elif name.endswith(".safetensors"):
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = as_json(changed_value(json.loads(data[8 : 8 + length]), change))
        _replace(path, len(header).to_bytes(8, "little") + header + data[8 + length :])
    else:
        _replace(path, as_json(changed_value(json.loads(path.read_bytes()), change)))


def _folder_damages(names: list[str]) -> st.SearchStrategy[Any]:
    structured = [name for name in names if name.endswith((".json", ".safetensors"))]
    return st.one_of(
        st.tuples(st.sampled_from(structured), st.just("values"), value_changes()),
        st.tuples(st.sampled_from(names), st.just("bytes"), edits()),
        st.tuples(st.sampled_from(names), st.just("missing"), st.none()),
    )


TOKENIZER = Subject(
    "visual tokenizer folders",
    _folder_damages(["seed_tokenizer.json", "model.safetensors"]),
    lambda damage, folder: _write_folder(NANO, damage, folder),
    lambda damage: [["tokenize", "../whole/picture.png", "--model", "model"]],
)
DECODER = Subject(
    "picture decoder folders",
    _folder_damages(
        ["decoder/model_index.json", "decoder/unet/config.json", "decoder/vae/config.json"]
        + ["decoder/scheduler/scheduler_config.json", "decoder/image_normalizer/config.json"]
        + ["decoder/text_encoder/config.json", "decoder/tokenizer/tokenizer_config.json"]
        + ["decoder/unet/diffusion_pytorch_model.safetensors"]
    ),
    lambda damage, folder: _write_folder(NANO, damage, folder),
    lambda damage: [
        ["detokenize", "../whole/codes.jsonl", "--model", "model", "-o", "a.png", "--steps", "1"]
    ],
)
LANGUAGE = Subject(
    "language model folders",
    _folder_damages(
        ["config.json", "seed.json", "tokenizer.json", "tokenizer_config.json"]
        + ["generation_config.json", "model.safetensors"]
    ),
    lambda damage, folder: _write_folder(NANO / "llm", damage, folder),
    lambda damage: [
        ["chat", "--once", "hello", "--model", "model", "--tokenizer", "seed-nano"]
        + ["--max-new-tokens", "4", "--seed", "0"]
    ],
)


ADAPTER = Subject(
    "adapter folders",
    _folder_damages(["adapter_config.json", "adapter_model.safetensors"]),
    lambda damage, folder: _write_folder(folder.parent / "whole" / "adapter", damage, folder),
    LANGUAGE.commands,
)


# --- codes, documents, recipes ---


def _write_codes(damage: Any, folder: Path) -> None:
    how, change = damage
    data = whole(folder, "codes.jsonl")
    if how == "values":
        line = as_json(changed_value(json.loads(data), change))
    elif how == "digits":
        line = data.replace(b"[", b"[" + b"9" * change + b", ", 1)
    else:
        line = edited(data, change)
    (folder / "a.jsonl").write_bytes(line + b"\n")


CODES = Subject(
    "codes",
    st.one_of(
        st.tuples(st.just("values"), value_changes()),
        st.tuples(st.just("bytes"), edits()),
        st.tuples(st.just("digits"), st.sampled_from([3, 30, 5000])),
    ),
    _write_codes,
    lambda damage: [
        ["detokenize", "a.jsonl", "-o", "out/{index}.png", "--steps", "1"],
        ["detokenize", "../whole/codes.jsonl", "-o", "b.png", "--steps", "1"]
        + ["--guidance", random.Random(str(damage)).choice(["inf", "nan", "-1", "1e300", "0"])],
    ],
)


def _write_talks(damage: Any, folder: Path) -> None:
    how, change = damage
    data = whole(folder, "talks.json")
    changed = (
        as_json(changed_value(json.loads(data), change))
        if how == "values"
        else edited(data, change)
    )
    (folder / "a.json").write_bytes(changed)
    shutil.copy(folder.parent / "whole" / "picture.png", folder)


DOCUMENTS = Subject(
    "conversations",
    st.one_of(st.tuples(st.just("values"), value_changes()), st.tuples(st.just("bytes"), edits())),
    _write_talks,
    lambda damage: [["tokens", "build", "llava", "a.json", "--images", ".", "-o", "out"]],
)

_KEYS = ["seed", "context_length", "language_model.start", "lora.optimization.betas"]
_KEYS += ["lora.optimization.learning_rate", "lora.optimization.steps", "data.sources"]
_KEYS += ["lora.adapter.rank", "parallel.engine", "run.log_every_steps", "data.sources.0.weight"]
_VALUES = ["1e38", "-1", "0", "9" * 30, "[1, 2]", "nan", "inf", '""', "{}", "[" * 3000, "true"]
_VALUES += ['"\\u0000"', "2020-01-01", "[]", "x" * 4000, "[0.9, 1.0]"]


def _write_recipe(damage: Any, folder: Path) -> None:
    changes, _ = damage
    (folder / "a.toml").write_bytes(edited(whole(folder, "recipe.toml"), changes))


RECIPES = Subject(
    "recipes",
    st.tuples(edits(), st.tuples(st.sampled_from(_KEYS), st.sampled_from(_VALUES))),
    _write_recipe,
    lambda damage: [
        ["recipes", "show", "a.toml"],
        ["recipes", "show", "../whole/recipe.toml", f"{damage[1][0]}={damage[1][1]}"],
        ["plan", "../whole/recipe.toml", f"{damage[1][0]}={damage[1][1]}"],
    ],
)

# of options that say where and how work runs; none of them may start more than it can end
_NUMBERS = ["0", "-1", "1.5", "nan", "9" * 30, "", "1/0", "0/2", "3/2", "1/2/3", "x" * 4000, "1/2"]
_PLACES = ["", ".", "../whole", "no/such/page.html", "a\nb", "x" * 300, "out", "\udcff", "a.html"]
_OPTIONS = [("--part", _NUMBERS), ("--nproc", _NUMBERS[:8]), ("--actors", _NUMBERS[:8])]
_OPTIONS += [("--batch-size", _NUMBERS[:8]), ("--page", _PLACES), ("--work", _PLACES)]


def _write_nothing(damage: Any, folder: Path) -> None:
    shutil.copy(folder.parent / "whole" / "picture.png", folder)


OPTIONS = Subject(
    "options",
    st.one_of(*(st.tuples(st.just(name), st.sampled_from(each)) for name, each in _OPTIONS)),
    _write_nothing,
    lambda damage: [
        ["tokenize", "picture.png", "-o", "out", f"{damage[0]}={damage[1]}"],
        ["tokenize", "picture.png", "-o", "out.jsonl", f"{damage[0]}={damage[1]}"],
    ],
)

SUBJECTS = [SHARDS, TOKENIZER, DECODER, LANGUAGE, ADAPTER, PICTURES, VIDEOS, TARS, TABLES, CODES]
SUBJECTS += [DOCUMENTS, RECIPES, OPTIONS]
