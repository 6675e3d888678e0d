"""The state on disk of `seed tokens build`: the frozen list of documents and of the pictures that
they share. Torch-free.

The workspace `.seed/` in the output folder holds, beside what `data.token_job` keeps there,
    manifest.json      settings and planned shards; appears when the listing is complete
    documents.jsonl    documents in order, pictures in them as numbers
    known.parquet      the pictures whose codes were there before (`data.known_codes`), as a token shard
    pictures.jsonl     the others, each once, in the order of their first use
    pictures/          codes of these: a folder of token shards as `seed tokenize` writes it
The key of a picture's row is its number. All but the manifest go when every shard is written.
"""  # noqa: E501

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedcli.data.documents.columns import DocumentRow
from seedcli.data.documents.conversations import check_conversation
from seedcli.data.documents.documents import Message, Sample
from seedcli.data.images.items import Item
from seedcli.data.published_sets.formats import SetFormat
from seedcli.data.published_sets.picture_finder import Frames, Named, PictureFinder
from seedcli.data.published_sets.records import Cell, Found, read_records, stem_of
from seedcli.data.tokens.job import PlannedShard, TokenJob, write_job, write_lines
from seedcli.data.tokens.known_codes import KnownCodes
from seedcli.data.tokens.shards import TokenRow, read_rows, write_shard
from seedcli.errors import DataError, UsageError
from seedcli.files import json_text, published
from seedcli.storage import is_url, open_to_read

_MARKER = re.compile(r"</?img>|<img_\d{5,}>")


class DocumentListing:
    """Records -> lines of documents.jsonl; gathers the pictures on the way.

    Args:
        layout: The set's format.
        name: First part of the keys; sets that are merged later should differ in it.
        finder: Where its pictures are.
        inline: Folder for pictures that rows carry in themselves; None: they are only counted.
        num_queries: Codes of a picture, for those that rows carry.
        num_codes: Size of the codebook.

    Attributes:
        pictures: Path, cell and frame of a picture -> its item, whose key is its number; about
            300 bytes of memory each.
        fingerprints: Of the tokenizers whose codes rows carry.
    """

    def __init__(
        self,
        layout: SetFormat,
        finder: PictureFinder,
        *,
        name: str,
        num_queries: int,
        num_codes: int,
        inline: Path | None = None,
    ):
        self._layout, self._finder, self._name, self._inline = layout, finder, name, inline
        self._num_queries, self._num_codes = num_queries, num_codes
        self.pictures: dict[tuple[Any, ...], Item] = {}
        self.fingerprints: set[str] = set()

    @property
    def missing(self) -> list[Item]:
        """Pictures that were not found."""
        return [item for item in self.pictures.values() if item.problem is not None]

    def lines(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Documents in order: `key`, `source`, `meta`, and `segments` or `messages`, or the
        `problem` for which there is none.
        """
        stems = [stem_of(path) for path in paths]
        if len(set(stems)) < len(stems):
            stems = [f"{number:06d}-{stem}" for number, stem in enumerate(stems)]
        names = dict(zip(paths, stems, strict=True))
        for found in read_records(paths):
            key, source = (
                f"{self._name}/{names[found.path]}/{found.number}",
                f"{found.path}[{found.number}]",
            )
            try:
                samples = self._samples(found)
            except DataError as error:
                yield {"key": key, "source": source, "problem": error.message}
                continue
            for number, sample in enumerate(samples):
                own = sample.key or (key if len(samples) == 1 else f"{key}-{number}")
                yield {"key": own, "source": source} | self._content(sample)

    def _samples(self, found: Found) -> list[Sample]:
        if found.record is None:
            raise DataError("is no object with fields")
        if isinstance(found.record.get("fingerprint"), str):
            self.fingerprints.add(found.record["fingerprint"])
        return self._layout.read(found.record)

    def _content(self, sample: Sample) -> dict[str, Any]:
        meta = {"meta": json_text(sample.meta, default=str)} if sample.meta else {}
        try:
            if self._layout.content == "segments":
                content: list[Any] = self._segments(sample.segments)
            else:
                check_conversation(sample.messages)
                content = [
                    {"role": message.role, "segments": self._segments(message.segments)}
                    for message in sample.messages
                ]
        except (DataError, UsageError) as error:
            return meta | {"problem": error.message}
        return meta | (
            {self._layout.content: content} if content else {"problem": "nothing is said in it"}
        )

    def _segments(self, segments: Iterable[Any]) -> list[Any]:
        found: list[Any] = []
        for segment in segments:
            if isinstance(segment, str):
                if marker := _MARKER.search(segment):
                    raise DataError(f"words hold {marker[0]}, which only pictures may have")
                found.append(segment)
            elif isinstance(segment, bytes):
                found.append({"picture": self._number(self._carried(segment))})
            elif isinstance(segment, Named | Frames | Cell):
                found += [{"picture": self._number(item)} for item in self._finder.find(segment)]
            elif not isinstance(segment, tuple) or not all(type(code) is int for code in segment):
                raise DataError(f"a picture is a name or a list of codes; here {segment!r:.80}")
            else:
                if len(segment) != self._num_queries or not all(
                    0 <= code < self._num_codes for code in segment
                ):
                    raise DataError(
                        f"a picture of {len(segment)} codes up to {max(segment, default=0)}; "
                        f"expected {self._num_queries} in 0..{self._num_codes - 1}"
                    )
                found.append({"codes": list(segment)})
        return found

    def _carried(self, data: bytes) -> Item:
        """A picture that a row carries: a file of its own until it is tokenised."""
        name = hashlib.sha256(data).hexdigest()[:24]
        if self._inline is None:
            return Item(key="", source=name, data=data)
        path = self._inline / name
        # one that a kill cut short is shorter
        if not path.is_file() or path.stat().st_size != len(data):
            if not is_url(path):
                self._inline.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Item(key="", source=f"data URL {name}", path=str(path))

    def _number(self, item: Item) -> int:
        place = (item.path or item.source, item.cell, item.part, item.frames)
        if place not in self.pictures:
            self.pictures[place] = dataclasses.replace(item, key=str(len(self.pictures)))
        return int(self.pictures[place].key)


def freeze_documents(
    folder: Path,
    listing: DocumentListing,
    lines: Iterable[Mapping[str, Any]],
    settings: dict[str, Any],
    *,
    name: str,
    shard_size: int,
    codes: KnownCodes | None = None,
) -> TokenJob:
    """Lists every document and writes the manifest.

    Args:
        folder: The workspace; must not hold a manifest yet.
        listing: Where the pictures gather while `lines` is read.
        lines: The documents.
        settings: Stored, with the numbers of pictures and of those to be tokenised, and the
            fingerprints of codes that rows carry.
        name: Of the shards, before their number.
        shard_size: Documents of a shard.
        codes: Of pictures that need not be tokenised.

    Raises:
        DataError: There are no documents, not one of their pictures is found, or not one of
            them has codes in `codes`.
    """
    shards: list[PlannedShard] = []
    start, count, digest = 0, 0, hashlib.sha256()
    with (
        published(folder / "documents.jsonl") as partial,
        open(partial, "w", encoding="utf-8") as file,
    ):

        def close() -> None:
            nonlocal start, count, digest
            if count:
                shards.append(
                    PlannedShard(
                        f"{name}-{len(shards):06d}",
                        "documents",
                        start=start,
                        num_items=count,
                        digest=digest.hexdigest(),
                    )
                )
                start, count, digest = file.tell(), 0, hashlib.sha256()

        for line in lines:
            text = json_text(line)
            file.write(text + "\n")
            digest.update(text.encode())
            count += 1
            if count == shard_size:
                close()
        close()
        check_listing(listing, num_documents=len(shards))
    pictures = {item.key: item for item in listing.pictures.values()}
    total = len(pictures)
    if codes is not None:

        def known() -> Iterator[TokenRow]:
            for row in codes.rows(listing.pictures.values()):
                del pictures[row.key]
                yield row

        write_shard(folder / "known.parquet", codes.header, known(), overwrite=True)
    write_lines(folder / "pictures.jsonl", (item.to_line() for item in pictures.values()))
    settings = settings | {
        "pictures": total,
        "to_tokenize": len(pictures),
        "fingerprints": sorted(listing.fingerprints),
    }
    return write_job(folder, settings, shards)


def check_listing(listing: DocumentListing, *, num_documents: int) -> None:
    """Refuses a listing that cannot be meant.

    Raises:
        DataError: There are no documents, or not one of their pictures is found.
    """
    if not num_documents:
        raise DataError("the inputs hold no document of a training part", remedy="Check the paths.")
    missing = listing.missing
    if missing and len(missing) == len(listing.pictures):
        raise DataError(
            f"not one of the {len(missing)} pictures is found; the first is {missing[0].source}: "
            f"{missing[0].problem}",
            remedy="Name the folder where they lie with --images DIR (several times for several).",
        )


def read_pictures(folder: Path) -> Iterator[Item]:
    """The pictures of a workspace, in order."""
    with open_to_read(folder / "pictures.jsonl") as file:
        for line in file:
            yield Item(**json.loads(line))


class CodesOfPictures:
    """Codes of the pictures of a workspace, by number, and why some have none.

    Args:
        folder: The workspace.
        number: How many there are.
        num_queries: Codes of each.
    """

    def __init__(self, folder: Path, number: int, num_queries: int):
        self._codes = np.zeros((number, num_queries), dtype=np.uint16)
        self._known = np.zeros(number, dtype=bool)
        self._reasons: dict[int, str] = {}
        for path in (*folder.glob("*.parquet"), *sorted((folder / "pictures").glob("*.parquet"))):
            for row in read_rows(path):
                self._codes[int(row.key)], self._known[int(row.key)] = row.codes, True
        errors = folder / "pictures" / "errors.jsonl"
        if errors.is_file():
            with open_to_read(errors) as file:
                for error in map(json.loads, file):
                    self._reasons[int(error["key"])] = (
                        f"picture {error['source']}: {error['error']}"
                    )

    def row(
        self, line: Mapping[str, Any], *, keeps_rest: bool
    ) -> tuple[DocumentRow | None, list[str]]:
        """Line of documents.jsonl -> the row of a shard, None where there is
        none, and what is wrong.

        Args:
            line: The document.
            keeps_rest: It goes on without pictures that have no codes, if one is
                left; else it is dropped.
        """
        if "problem" in line:
            return None, [line["problem"]]
        lost = [
            one["picture"]
            for one in _parts(line)
            if isinstance(one, dict) and "picture" in one and not self._known[one["picture"]]
        ]
        problems = [self._reasons[number] for number in dict.fromkeys(lost)]
        if problems and not keeps_rest:
            return None, problems
        segments = self._resolve(line.get("segments", ()))
        messages = tuple(
            Message(one["role"], self._resolve(one["segments"])) for one in line.get("messages", ())
        )
        row = DocumentRow(line["key"], segments, messages, line["source"], line.get("meta"))
        return (None if problems and not any(row.codes()) else row), problems

    def _resolve(self, segments: Iterable[Any]) -> tuple[Any, ...]:
        found: list[Any] = []
        for one in segments:
            if isinstance(one, str):
                found.append(one)
            elif "codes" in one:
                found.append(tuple(one["codes"]))
            elif self._known[one["picture"]]:
                found.append(tuple(self._codes[one["picture"]].tolist()))
        return tuple(found)


def _parts(line: Mapping[str, Any]) -> Iterator[Any]:
    yield from line.get("segments", ())
    for message in line.get("messages", ()):
        yield from message["segments"]
