"""What a run of `seed tokenize` leaves behind: the file that its parts become, and a summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seedcli.data.tokens.job import TokenJob, write_lines
from seedcli.data.tokens.outcomes import Outcome, read_journal
from seedcli.data.tokens.shards import ShardHeader, write_shard
from seedcli.files import json_text
from seedcli.workflows.tokenize.request import TokenizeRequest


@dataclass(frozen=True)
class TokenizeSummary:
    """What a run left behind: counts of the whole output (or of its part of it), and the speed of
    this run.
    """

    output: str
    images: int
    failed: int
    shards: int
    model: str
    fingerprint: str
    computed: int
    elapsed_s: float
    errors: str | None = None
    part: str | None = None

    def as_result(self) -> dict[str, Any]:
        """The object that `seed tokenize -o` prints."""
        rate = round(self.computed / self.elapsed_s, 1) if self.elapsed_s > 0 else None
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        } | {"images_per_s": rate}


def write_file(request: TokenizeRequest, job: TokenJob, header: ShardHeader) -> int:
    """Journals -> one file, parquet or a text line an image; returns how many images it holds."""
    path = request.output

    def outcomes() -> Iterator[Outcome]:
        for shard in job.shards:
            yield from read_journal(request.journal_path(shard))

    done = (one for one in outcomes() if one.reason is None)
    if request.output_format == "tokens":
        return write_lines(path, (one.token_text() for one in done))
    if path.suffix != ".parquet":
        records = (one.as_record(header.tokenizer, header.fingerprint) for one in done)
        return write_lines(path, map(json_text, records))
    made_from = {
        "kind": "inputs",
        "inputs": job.settings["inputs"],
        "num_items": sum(1 for _ in outcomes()),
    }
    header = dataclasses.replace(header, made_from=made_from, content=job.content)
    rows = (one.as_row(job.content) for one in done)
    return write_shard(path, header, rows, overwrite=True).count
