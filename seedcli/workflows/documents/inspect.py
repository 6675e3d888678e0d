"""`seed tokens`: looks into token shards, checks them, counts codes, and joins shards."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedcli.console import Reporter
from seedcli.data.documents.columns import DocumentRow, pack_document
from seedcli.data.tokens.job import open_job
from seedcli.data.tokens.shard_schema import UNITS, damage_named, meta_of
from seedcli.data.tokens.shards import (
    TokenRow,
    list_shards,
    open_shards,
    read_header,
    read_rows,
    write_shard,
)
from seedcli.errors import DataError
from seedcli.files import published
from seedcli.workflows.documents.codes_page import write_codes_page


def info(inputs: Sequence[str | Path]) -> dict[str, Any]:
    """What shards say about themselves, without reading their rows.

    Raises:
        DataError: A file is no token shard, or they are of two tokenizers.
    """
    shards = open_shards(inputs)
    header = dataclasses.asdict(shards.header)
    for name in ("count", "made_from"):
        del header[name]
    return header | {
        "shards": len(shards.paths),
        UNITS[shards.header.content]: len(shards),
        "bytes": sum(path.stat().st_size for path in shards.paths),
    }


def head(inputs: Sequence[str | Path], number: int) -> Iterator[dict[str, Any]]:
    """The first rows: images as the lines that `seed tokenize` would have printed, documents with
    their segments or messages.

    Raises:
        DataError: As `info`.
    """
    shards = open_shards(inputs)
    header = shards.header
    sizes = {"num_queries": header.num_queries, "num_codes": header.num_codes}
    for row in itertools.islice(shards, number):
        said: dict[str, Any]
        if isinstance(row, TokenRow):
            said = {"codes": [int(code) for code in row.codes]}
        else:
            said = {header.content: pack_document(row, header.content, **sizes)}
        record = {
            "source": row.source,
            **said,
            "model": header.tokenizer,
            "fingerprint": header.fingerprint,
            "key": row.key,
            "text": getattr(row, "text", None),
            "meta": meta_of(row) or None,
        }
        yield {name: value for name, value in record.items() if value is not None}


def verify(inputs: Sequence[str | Path], *, reporter: Reporter = Reporter()) -> dict[str, Any]:
    """Reads every row and lists what is wrong: unreadable files, counts, codes out of range,
    repeated keys, a mix, an unfinished run.

    Returns:
        `shards`, their rows (`images`, `documents` or `conversations`), and `problems`: a list of
        sentences, empty if all is well.

    Raises:
        DataError: There is nothing to verify.
    """
    paths = list_shards(inputs)
    problems: list[str] = []
    fingerprints: dict[str, Path] = {}
    keys: set[bytes] = set()  # 8 bytes of a hash for each key: 100 MB for a million rows
    contents: dict[str, Path] = {}
    rows = 0
    with reporter.progress("verify", len(paths)) as progress:
        for path in paths:
            try:
                header = read_header(path)
                fingerprints.setdefault(header.fingerprint, path)
                contents.setdefault(header.content, path)
                rows += _verify_rows(path, keys, problems)
            except DataError as error:
                problems.append(error.message)
            progress.advance()
    for what, found in (("tokenizers", fingerprints), ("contents", contents)):
        if len(found) > 1:
            named = ", ".join(f"{path} ({name})" for name, path in found.items())
            problems.append(f"shards of several {what}: {named}")
    for folder in (Path(one) for one in inputs if Path(one).is_dir()):
        job = open_job(folder / ".seed")
        names = [shard.name for shard in job.shards] if job else []
        missing = [name for name in names if not (folder / f"{name}.parquet").exists()]
        if missing:
            problems.append(
                f"{folder}: {len(missing)} of {len(names)} shards are not finished "
                f"({missing[0]}, ...); {job.settings.get('command', 'seed tokenize')} --resume"
            )
        problems += [
            f"{left}: left by an interrupted run" for left in sorted(folder.glob("*.partial"))
        ]
    unit = UNITS[header.content] if len(contents) == 1 else "rows"
    return {"shards": len(paths), unit: rows, "problems": problems}


def _codes_of(row: TokenRow | DocumentRow) -> Iterator[Sequence[int] | np.ndarray]:
    return iter([row.codes]) if isinstance(row, TokenRow) else row.codes()


def _verify_rows(path: Path, keys: set[bytes], problems: list[str]) -> int:
    count = repeated = 0
    with damage_named(path):
        for row in read_rows(path):
            count += 1
            meta_of(row)
            digest = hashlib.blake2b(row.key.encode(), digest_size=8).digest()
            repeated += int(digest in keys)
            keys.add(digest)
    if repeated:
        problems.append(f"{path}: {repeated} keys that occurred before")
    return count


def stats(
    inputs: Sequence[str | Path],
    *,
    page: Path | None = None,
    reporter: Reporter = Reporter(),
) -> dict[str, Any]:
    """How the codebook is used: share of codes seen, perplexity, entropy of each position in bits,
    most frequent codes; captions too.

    Args:
        inputs: Shards, or folders of them.
        page: File of a page that shows it, with example pictures of codes; see `write_codes_page`.
        reporter: Hears of progress.

    Raises:
        DataError: As `info`.
    """
    shards = open_shards(inputs)
    counts = np.zeros((shards.header.num_queries, shards.header.num_codes), dtype=np.int64)
    positions = np.arange(shards.header.num_queries)
    images = with_text = text_chars = 0
    with reporter.progress("count", len(shards)) as progress:
        for row in shards:
            for codes in _codes_of(row):
                counts[positions, np.asarray(codes)] += 1
                images += 1
            text = row.text if isinstance(row, TokenRow) else row.words()
            if text:
                with_text, text_chars = with_text + 1, text_chars + len(text)
            progress.advance()
    total = counts.sum(axis=0)
    frequent = Counter(dict(enumerate(total.tolist()))).most_common(5)
    unit = UNITS[shards.header.content]
    figures = {
        **({} if unit == "images" else {unit: len(shards)}),
        "images": images,
        f"{unit}_with_text": with_text,
        "text_chars_mean": round(text_chars / with_text, 1) if with_text else None,
        "num_codes": shards.header.num_codes,
        "codebook_usage": round(float((total > 0).mean()), 4),
        "codebook_perplexity": round(float(2 ** _entropy_bits(total)), 1),
        "position_entropy_bits": [round(_entropy_bits(row), 3) for row in counts],
        "most_frequent_codes": [
            [code, round(count / max(int(total.sum()), 1), 4)] for code, count in frequent if count
        ],
    }
    if page is not None:
        write_codes_page(inputs, counts, figures, page, reporter=reporter)
    return figures


def _entropy_bits(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(shares * np.log2(shares)).sum())


def merge(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    shard_size: int | None = None,
    reporter: Reporter = Reporter(),
) -> dict[str, Any]:
    """Shards of one tokenizer -> one file, or, with `shard_size`, a folder of files of that many
    rows; rows stay in order.

    Raises:
        DataError: Shards of several tokenizers, of different image handling or numerics, or
            an output that exists.
    """
    shards = open_shards(inputs)
    compared = ("image_handling", "numerics", "dtype", "num_queries", "num_codes")
    for path in shards.paths:
        header = read_header(path)
        for name in compared:
            if getattr(header, name) != getattr(shards.header, name):
                raise DataError(
                    f"{path}: its {name} is {getattr(header, name)}, that of {shards.paths[0]} is "
                    f"{getattr(shards.header, name)}",
                    remedy="Such codes do not belong in one shard; merge them apart.",
                )
    header = dataclasses.replace(
        shards.header, made_from={"kind": "shards", "names": [path.name for path in shards.paths]}
    )
    rows: Iterator[Any] = iter(shards)
    output.parent.mkdir(parents=True, exist_ok=True)
    if shard_size is None:
        if output.suffix != ".parquet":
            raise DataError(
                f"-o {output}: a single shard ends in .parquet",
                remedy="Name it so, or give --shard-size for a folder.",
            )
        written = [write_shard(output, header, rows)]
    else:
        if output.is_dir() and any(output.iterdir()):
            raise DataError(f"{output} is not empty", remedy="Name a new folder with -o.")
        written = []
        with reporter.progress("merge", len(shards)) as progress, published(output) as partial:
            partial.mkdir()
            while part := list(itertools.islice(rows, shard_size)):
                written.append(
                    write_shard(partial / f"merged-{len(written):06d}.parquet", header, part)
                )
                progress.advance(len(part))
    return {
        "output": str(output),
        "shards": len(written),
        UNITS[header.content]: sum(one.count for one in written),
    }
