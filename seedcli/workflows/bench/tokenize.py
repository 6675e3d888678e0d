"""`seed bench tokenize`: how many pictures a second this machine reads, decodes and encodes, each
alone and all together. `seed plan tokenize` reads what is found.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import seedcli
from seedcli.console import Reporter
from seedcli.data.images.containers import expand
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Columns, Item
from seedcli.data.images.loader import decode_chunk
from seedcli.data.tokens.shards import TokenRow, write_shard
from seedcli.engine.engines import cores
from seedcli.errors import DataError
from seedcli.models.weights.locate import locate
from seedcli.models.weights.random_model import build_random_model
from seedcli.storage import open_to_read
from seedcli.workflows.bench.rates import keep_rate, kind_of
from seedcli.workflows.bench.request import BenchRequest
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.encoder import Encoder, in_passes
from seedcli.workflows.tokenize.request import MAX_WORKERS
from seedcli.workflows.tokenize.stages import STAGES, bottleneck

MADE = 64  # pictures that are made where none are named; each is read many times
MOST = 1024  # pictures of the user that are held in memory


def run(request: BenchRequest, *, reporter: Reporter = Reporter()) -> dict[str, Any]:
    """Measures and keeps the rate.

    Returns:
        `encode_images_per_s` of the device alone, `decode_images_per_s_per_core` of one core alone
        (reading from memory), and `images_per_s` of both at work together, with what holds it back;
        bytes of a picture and of its row in a token shard.

    Raises:
        UsageError: No such model, device or dtype.
        DataError: Weights or pictures are missing or unreadable.
    """
    tokenizer = load(request, reporter)
    items = _readable(_items(request), tokenizer)
    workers = min(cores(), MAX_WORKERS) if request.workers is None else request.workers
    preprocess = tokenizer.config.preprocess.codes
    reporter.note(f"decoding {len(items)} pictures, on one core")
    chunks = in_passes(itertools.cycle(items), min(request.batch_size, len(items)))
    batches = (decode_chunk(chunk, preprocess, "seed") for chunk in chunks)
    first = next(batches)
    decode = _per_second((batch.items for batch in batches), request.seconds)
    reporter.note(f"encoding by {tokenizer.name} on {tokenizer.device}")
    squares = np.resize(first.squares, (request.batch_size, *first.squares.shape[1:]))
    passes = tokenizer.encode_ahead(itertools.repeat(squares), request.batch_size)
    next(passes)
    encode = _per_second(passes, request.seconds)
    reporter.note(f"both together, with {workers} decoding processes")
    seconds: Counter[str] = Counter()
    with Encoder.open(tokenizer, "seed", request.batch_size, workers) as encoder:
        outcomes = encoder.encode(itertools.cycle(items))
        next(outcomes)  # workers are up
        encoder.clock.take()
        together = _per_second(outcomes, request.seconds)
        seconds.update(encoder.clock.take())
        row_bytes = _row_bytes(encoder)
    total = sum(seconds.values()) or 1.0
    rate = {
        "model": tokenizer.name,
        "weights": "random" if request.random_weights else tokenizer.fingerprint,
        **describe_device(tokenizer.device),
        "cores": cores(),
        "dtype": str(tokenizer.model.compute_dtype).removeprefix("torch."),
        "batch_size": request.batch_size,
        "workers": workers,
        "image_bytes": round(sum(len(item.data or b"") for item in items) / len(items)),
        "row_bytes": round(row_bytes, 1),
        "decode_images_per_s_per_core": round(decode, 2),
        "encode_images_per_s": round(encode, 2),
        "images_per_s": round(together, 2),
        "shares": {stage: round(seconds[stage] / total, 3) for stage in STAGES},
        "seconds": request.seconds,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "versions": {
            "seedcli": seedcli.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    reporter.note(bottleneck(seconds))
    return rate | {"kept": str(keep_rate(rate))}


def load(request: BenchRequest, reporter: Reporter) -> SeedTokenizer:
    """The tokenizer, or one of its shape."""
    tokenizer = SeedTokenizer(
        locate(request.model, reporter=reporter),
        device=request.device,
        dtype=request.dtype,
        reporter=reporter,
    )
    if request.random_weights:
        tokenizer.model = build_random_model(
            tokenizer.config, device=request.device, dtype=request.dtype
        )
    return tokenizer.load()


def describe_device(device: torch.device) -> dict[str, Any]:
    """Name of a device, what `--gpus` calls it, and its memory."""
    if device.type != "cuda":
        name = platform.processor() or platform.machine()
        return {"device": f"{device.type} {name}".strip(), "kind": kind_of(name, None)}
    facts = torch.cuda.get_device_properties(device)
    memory_gb = facts.total_memory / 2**30
    return {
        "device": facts.name,
        "kind": kind_of(facts.name, memory_gb),
        "memory_gb": round(memory_gb, 1),
    }


def _items(request: BenchRequest) -> Iterator[Item]:
    """Pictures with their bytes in memory, so that no disk is measured."""
    if not request.inputs:
        for number in range(MADE):
            yield Item(str(number), f"picture {number}", data=_make(number, request.image_size_px))
        return
    for item in itertools.islice(expand(list_inputs(request.inputs), Columns()), MOST):
        if item.path is None or item.cell is not None:
            yield item
            continue
        with contextlib.suppress(OSError), open_to_read(item.path) as file:
            yield replace(item, data=file.read(), path=None)


def _readable(items: Iterable[Item], tokenizer: SeedTokenizer) -> list[Item]:
    """Those that can be decoded: the measurements go round in them for ever.

    Raises:
        DataError: Not one can.
    """
    preprocess = tokenizer.config.preprocess.codes
    found = [
        item
        for item in items
        if item.data is not None and decode_chunk([item], preprocess, "seed").reasons == [None]
    ]
    if not found:
        raise DataError("the inputs hold no image", remedy="Check the paths.")
    return found


def _make(number: int, size_px: int) -> bytes:
    """A JPEG of smooth colours with noise, about as large as a photograph's."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size_px, size_px * 3 // 4), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, dtype=np.int16) + rng.normal(0, 12, (size_px * 3 // 4, size_px, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _per_second(batches: Iterable[Sized], seconds: float) -> float:
    """Endless batches -> how many of their members come in a second."""
    started, count, elapsed_s = time.perf_counter(), 0, 0.0
    for batch in batches:
        count, elapsed_s = count + len(batch), time.perf_counter() - started
        if elapsed_s >= seconds:
            break
    return count / elapsed_s


def _row_bytes(encoder: Encoder) -> float:
    """Bytes of a row in a token shard of 10,000 pictures with names of 13 letters and codes that
    nothing can be left out of.
    """
    tokenizer, number, rng = encoder.tokenizer, 10_000, np.random.default_rng(0)
    rows = (
        TokenRow(
            f"{index:09d}.jpg",
            rng.integers(0, tokenizer.num_codes, tokenizer.num_queries),
            None,
            f"{index:09d}.jpg",
            None,
        )
        for index in range(number)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.parquet"
        write_shard(path, encoder.header(), rows)
        return path.stat().st_size / number
