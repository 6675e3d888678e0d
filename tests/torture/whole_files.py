"""The files that damages start from."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

from tests.torture.mutations import as_json
from tests.torture.subject import NANO
from tests.videos import write_video


def write_whole_files(folder: Path) -> None:
    """One of each kind, in a new folder."""
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
    (folder / "pictures.tar.gz").write_bytes(gzip.compress((folder / "pictures.tar").read_bytes()))
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
