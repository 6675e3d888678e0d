"""Every kind of file that commands read: a whole one, how it is damaged, and what reads it then."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import seedcli
from tests.torture.mutations import as_json, changed_value, edited, edits, value_changes
from tests.videos import write_video

NANO = Path(seedcli.__file__).parent / "bundled" / "nano"
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "LA")
Commands = list[list[str]]


@dataclass(frozen=True)
class Subject:
    """One kind.

    Attributes:
        name: For the table.
        damages: Strategy of what happens to the whole file, hashable by nobody: it is drawn once.
        write: Puts the damaged file into an empty folder, in a process of its own.
        commands: What reads it.
        must_not_pass: Commands that may not succeed on certain damages.
    """

    name: str
    damages: st.SearchStrategy[Any]
    write: Callable[[Any, Path], None]
    commands: Callable[[Any], Commands]
    must_fail: Callable[[Any, list[str]], bool] = lambda damage, command: False


def _whole(folder: Path, name: str) -> bytes:
    return (folder.parent / "whole" / name).read_bytes()


def write_whole_files(folder: Path) -> None:
    """The files that damages start from."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from seedcli.data.documents.columns import DocumentRow, Message
    from seedcli.data.tokens.shards import ShardHeader, TokenRow, write_shard
    from seedcli.models.weights.description import read_model_facts

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, (ending, how) in enumerate(
        {"png": {}, "jpg": {"quality": 80}, "gif": {}, "webp": {}, "bmp": {}, "tiff": {}}.items()
    ):
        square = rng.integers(0, 256, (48, 40 + number, 3), dtype=np.uint8)
        Image.fromarray(square).save(folder / f"picture.{ending}", **how)
    facts = read_model_facts(NANO)[1]
    header = {
        "tokenizer": "seed-nano",
        "fingerprint": facts["fingerprint"],
        "num_queries": 32,
        "num_codes": 512,
        "image_handling": "seed",
        "numerics": "default",
        "dtype": "float32",
        "micro_batch": (32, 3, 64, 64),
    }
    codes = rng.integers(0, 512, (6, 32)).tolist()
    rows = [
        TokenRow(f"a/{n}", each, "words", f"{n}.png", '{"n": 1}') for n, each in enumerate(codes)
    ]
    write_shard(folder / "images.parquet", ShardHeader(**header), rows)
    write_shard(
        folder / "segments.parquet",
        ShardHeader(**header, content="segments"),
        [DocumentRow(str(n), ("a", tuple(each)), (), "a", None) for n, each in enumerate(codes)],
    )
    write_shard(
        folder / "messages.parquet",
        ShardHeader(**header, content="messages"),
        [
            DocumentRow(str(n), (), (Message("user", (tuple(each), "what?")),), "a", None)
            for n, each in enumerate(codes)
        ],
    )
    picture = (folder / "picture.png").read_bytes()
    table = pa.table({"image": [{"bytes": picture, "path": None}] * 4, "text": ["words"] * 4})
    pq.write_table(table, folder / "pictures.parquet")
    with tarfile.open(folder / "pictures.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(3):
            for ending, data in (
                ("png", picture),
                ("txt", b"words"),
                ("json", b'{"caption": "words"}'),
            ):
                member = tarfile.TarInfo(f"{number:04d}.{ending}")
                member.size = len(data)
                member.pax_headers = {"comment": "a"}
                tar.addfile(member, io.BytesIO(data))
    (folder / "pictures.tar.gz").write_bytes(gzip.compress(_bytes(folder / "pictures.tar")))
    line = {"source": "a.png", "codes": codes[0], "model": "seed-nano"}
    line["fingerprint"] = facts["fingerprint"]
    (folder / "codes.jsonl").write_bytes(as_json(line) + b"\n")
    talks = [
        {
            "id": str(number),
            "image": "picture.png",
            "conversations": [
                {"from": "human", "value": "<image>\nwhat?"},
                {"from": "gpt", "value": "words"},
            ],
        }
        for number in range(3)
    ]
    (folder / "talks.json").write_bytes(as_json(talks))
    write_video(folder / "video.mp4", 20)
    write_video(folder / "video.avi", 20, codec="mpeg4")
    _write_adapter(folder / "adapter")
    (folder / "recipe.toml").write_text('base = "nano-pretrain"\nseed = 3\n')


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


# --- token shards ---


def _write_shard(damage: Any, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, how, change = damage
    path = folder.parent / "whole" / f"{name}.parquet"
    if how == "bytes":
        (folder / "a.parquet").write_bytes(edited(_bytes(path), change))
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
        _replace(path, edited(_bytes(path), change))
    elif name.endswith(".safetensors"):
        data = _bytes(path)
        length = int.from_bytes(data[:8], "little")
        header = as_json(changed_value(json.loads(data[8 : 8 + length]), change))
        _replace(path, len(header).to_bytes(8, "little") + header + data[8 + length :])
    else:
        _replace(path, as_json(changed_value(json.loads(_bytes(path)), change)))


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


def _write_adapter(folder: Path) -> None:
    """A LoRA adapter of the bundled language model, as PEFT saves it."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir()
    config = json.loads((NANO / "llm" / "config.json").read_bytes())
    rng = np.random.default_rng(0)
    shapes = {"lora_A": (2, config["hidden_size"]), "lora_B": (config["hidden_size"], 2)}
    names = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.{part}.weight": shape
        for layer in range(config["num_hidden_layers"])
        for part, shape in shapes.items()
    }
    save_file(
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in names.items()},
        folder / "adapter_model.safetensors",
    )
    said = {"peft_type": "LORA", "base_model_name_or_path": "seed-nano", "r": 2, "lora_alpha": 4}
    said |= {"target_modules": ["q_proj"], "rank_pattern": {}, "bias": "none", "use_dora": False}
    (folder / "adapter_config.json").write_bytes(as_json(said))


ADAPTER = Subject(
    "adapter folders",
    _folder_damages(["adapter_config.json", "adapter_model.safetensors"]),
    lambda damage, folder: _write_folder(folder.parent / "whole" / "adapter", damage, folder),
    LANGUAGE.commands,
)


# --- pictures, videos, tars, tables ---


PICTURES = Subject(
    "pictures",
    st.tuples(st.sampled_from(["png", "jpg", "gif", "webp", "bmp", "tiff"]), edits()),
    lambda damage, folder: (
        (folder / f"a.{damage[0]}").write_bytes(
            edited(_whole(folder, f"picture.{damage[0]}"), damage[1])
        )
        and None
    ),
    lambda damage: [["tokenize", f"a.{damage[0]}"]],
)


VIDEOS = Subject(
    "videos",
    st.tuples(st.sampled_from(["mp4", "avi"]), edits()),
    lambda damage, folder: (
        (folder / f"a.{damage[0]}").write_bytes(
            edited(_whole(folder, f"video.{damage[0]}"), damage[1])
        )
        and None
    ),
    lambda damage: [["tokenize", f"a.{damage[0]}"]],
)


def _write_tar(damage: Any, folder: Path) -> None:
    how, change = damage
    if how == "bytes":
        (folder / "a.tar").write_bytes(edited(_whole(folder, "pictures.tar"), change))
    elif how == "gzip":
        (folder / "a.tar.gz").write_bytes(edited(_whole(folder, "pictures.tar.gz"), change))
    elif how == "bomb":
        member = tarfile.TarInfo("0.png")
        member.size = 1 << 29
        data = member.tobuf() + bytes(1 << 20)
        with gzip.open(folder / "a.tar.gz", "wb", compresslevel=1) as file:
            file.write(data)
            for _ in range(511):
                file.write(bytes(1 << 20))
    else:
        rng = random.Random(str(change))
        with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for number in range(3):
                name, headers, kind, json_text = change
                member = tarfile.TarInfo(name.format(number))
                data = _whole(folder, "picture.png")
                member.size = len(data)
                member.pax_headers = dict(headers)
                member.type = kind
                member.mtime = rng.choice([0, 1, 2**40])
                tar.addfile(member, io.BytesIO(data))
                beside = tarfile.TarInfo(f"{number}.json")
                beside.size = len(json_text)
                tar.addfile(beside, io.BytesIO(json_text))


TARS = Subject(
    "tars",
    st.one_of(
        st.tuples(st.just("bytes"), edits()),
        st.tuples(st.just("gzip"), edits()),
        st.tuples(
            st.just("members"),
            st.tuples(
                st.sampled_from(
                    [
                        "{}.png",
                        "a/../{}.png",
                        "/{}.png",
                        "caf\udce9{}.png",
                        "{}" + "a" * 300 + ".png",
                    ]
                    + ["{}.a.b.png", ".png", "{}", "same.png", "\u2028{}.png", "__MACOSX/._{}.png"]
                ),
                st.dictionaries(
                    st.sampled_from(["size", "path", "mtime", "uid", "GNU.sparse.major"])
                    | st.sampled_from(["GNU.sparse.size", "GNU.sparse.realsize", "linkpath"]),
                    st.sampled_from(["-1", "x", "1e400", "9" * 400, "", "é", "nan", "1"]),
                    max_size=2,
                ),
                st.sampled_from(
                    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE]
                    + [tarfile.GNUTYPE_SPARSE, tarfile.FIFOTYPE, b"Z"]
                ),
                st.sampled_from(
                    [b"{}", b"[" * 50_000, b'{"caption": "\\ud800"}', b"\xff", b'{"caption": 7}']
                ),
            ),
        ),
        st.tuples(st.just("bomb"), st.none()),
    ),
    _write_tar,
    lambda damage: [
        ["tokenize", "a.tar.gz" if damage[0] in ("gzip", "bomb") else "a.tar", "-o", "out"]
    ],
)


def _write_table(damage: Any, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    how, change = damage
    whole = folder.parent / "whole" / "pictures.parquet"
    if how == "bytes":
        (folder / "a.parquet").write_bytes(edited(_bytes(whole), change))
        return
    picture = _whole(folder, "picture.png")
    kinds: dict[str, Callable[[], Any]] = {
        "path as bytes": lambda: pa.array([b"../whole/picture.png"] * 4),
        "path as numbers": lambda: pa.array([1, 2, 3, 4]),
        "no UTF-8": lambda: pa.array([b"\xff.png"] * 4).cast(pa.binary()).view(pa.string()),
        "times": lambda: pa.array([2**62] * 4, pa.timestamp("us")),
        "nulls": lambda: pa.nulls(4),
        "lists": lambda: pa.array([[picture], [], None, [picture, b""]]),
        "struct": lambda: pa.array([{"bytes": None, "path": "nope.png"}] * 4),
        "struct of numbers": lambda: pa.array([{"bytes": 1, "path": 2}] * 4),
        "base64": lambda: pa.array([base64.b64encode(picture).decode()] * 4),
        "url": lambda: pa.array(["http://127.0.0.1:9/a.png"] * 4),
    }
    column, kind = change
    columns = {"image": pa.array([picture] * 4), "text": pa.array(["words"] * 4)}
    columns["extra"] = pa.array([2**61] * 4, pa.timestamp("us"))
    columns[column] = kinds[kind]()
    pq.write_table(pa.table(columns), folder / "a.parquet")


TABLES = Subject(
    "tables of pictures",
    st.one_of(
        st.tuples(st.just("bytes"), edits()),
        st.tuples(
            st.just("columns"),
            st.tuples(
                st.sampled_from(["image", "text", "extra"]),
                st.sampled_from(
                    ["path as bytes", "path as numbers", "no UTF-8", "times", "nulls", "lists"]
                    + ["struct", "struct of numbers", "base64", "url"]
                ),
            ),
        ),
    ),
    _write_table,
    lambda damage: [["tokenize", "a.parquet", "-o", "out"]],
)


# --- codes, documents, recipes ---


def _write_codes(damage: Any, folder: Path) -> None:
    how, change = damage
    data = _whole(folder, "codes.jsonl")
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
    data = _whole(folder, "talks.json")
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
    (folder / "a.toml").write_bytes(edited(_whole(folder, "recipe.toml"), changes))


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
