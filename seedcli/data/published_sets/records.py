"""Files of published data sets -> records: JSON, JSON lines, CSV, parquet and lines of text, taken
out of whatever wraps them. Torch-free.

A record is one question, conversation, story or page as a mapping; what belongs together is joined
here (questions with answers, captions with names of pictures), so that a layout's reader
(`data.set_formats`) is a function of one record. Pictures inside parquet are not read: their place
is a `Cell`, and bytes come when its turn comes.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from seedcli.data.images.tables import arrow_kind
from seedcli.data.text_files import load_json, open_text
from seedcli.errors import DataError
from seedcli.storage import for_arrow, open_to_read

Record = dict[str, Any]
ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".token", ".parquet")
_PACKED = (".gz", ".zip")


@dataclass(frozen=True)
class Cell:
    """A picture inside a parquet file: row, column, and its place in a list, if
    the column holds lists.
    """

    path: str
    row: int
    column: str
    element: int | None = None

    def to_text(self) -> str:
        """Row, place and column as one word, for `Item.cell`."""
        return f"{self.row}/{'' if self.element is None else self.element}/{self.column}"


class Found(NamedTuple):
    """A record, the file that it is of, and its number there; None stands for
    one that is no mapping.
    """

    path: Path
    number: int
    record: Record | None


def read_records(paths: Sequence[Path]) -> Iterator[Found]:
    """Files -> records in the order of the files, questions with the answers that other files
    (or parts of files) hold.

    A record with `question` and without an answer waits for the one with the same `question_id`
    that has no question, as VQAv2 and ActivityNet-QA publish them; answers are held in memory.
    Where no file holds such an answer it comes without.

    Raises:
        DataError: A file is missing, damaged or of another kind.
    """
    answers: dict[Any, Record] = {}
    others = []
    for path in paths:
        first = (
            next((one.record for one in _records_of(path) if one.record), {})
            if len(paths) > 1
            else {}
        )
        if "question_id" in first and "question" not in first:
            answers |= {
                one.record["question_id"]: one.record
                for one in _records_of(path)
                if _has_ids(one.record, "question_id")
            }
        else:
            others.append(path)
    for path in others or paths:
        for one in _records_of(path):
            if _has_ids(one.record, "question_id") and one.record["question_id"] in answers:
                one = one._replace(record=answers[one.record["question_id"]] | one.record)
            yield one


def stem_of(path: Path) -> str:
    """Name of an annotation file without folder, packing and ending."""
    stem = path.name.removesuffix(path.suffix) if path.suffix in _PACKED else path.name
    return stem.removesuffix(
        next((ending for ending in ENDINGS if stem.lower().endswith(ending)), "")
    )


def _records_of(path: Path) -> Iterator[Found]:
    for number, row in enumerate(_rows(path)):
        yield Found(path, number, row if isinstance(row, dict) else None)


def _rows(path: Path) -> Iterator[Any]:
    ending = next((one for one in reversed(path.suffixes) if one not in _PACKED), "").lower()
    try:
        match ending:
            case ".parquet":
                yield from _read_table(path)
            case ".json":
                yield from _read_json(path)
            case ".jsonl" | ".ndjson":
                with _text(path) as file:
                    yield from _lines(file, path)
            case ".csv" | ".tsv":
                with _text(path) as file:
                    yield from _cells(file, "\t" if ending == ".tsv" else ",")
            case ".token":  # Flickr30K: NAME#NUMBER, a tab, the caption
                with _text(path) as file:
                    for line in file:
                        name, _, text = line.rstrip("\r\n").partition("\t")
                        yield {"file_name": name.partition("#")[0], "caption": text}
            case ".txt":
                with _text(path) as file:
                    for line in file:
                        name, _, text = line.strip().partition(" ")
                        if text and not name.startswith("#"):
                            yield {"name": name, "text": text}
            case _:
                raise DataError(
                    f"{path}: is none of {', '.join(ENDINGS)} (also packed as .gz or .zip)",
                    remedy="Name the set's own annotation files.",
                )
    except (OSError, EOFError, zipfile.BadZipFile, csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error})", remedy="Check the path, or fetch the file again."
        ) from error


@contextlib.contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """A text file, also the first member of a zip, or gzipped."""
    with open_to_read(path) as file:
        if path.suffix == ".zip":
            with zipfile.ZipFile(file) as archive, archive.open(archive.namelist()[0]) as packed:
                yield open_text(packed, newline="")
        else:
            yield open_text(
                gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file, newline=""
            )


def _cells(file: IO[str], delimiter: str) -> Iterator[Record]:
    """Rows of a table of text; Flickr30K's own `results.csv` has bars between its columns."""
    rows = csv.reader(file, delimiter=delimiter)
    header = next(rows, [])
    if len(header) == 1 and "|" in header[0]:
        header = header[0].split("|")
        rows = (line.rstrip("\r\n").split("|", len(header) - 1) for line in file)  # type: ignore
    for row in rows:
        if row:
            names = zip(header, row, strict=False)
            yield {name.strip(): value.strip() for name, value in names}


def _lines(file: Iterable[str], path: Path) -> Iterator[Any]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield load_json(line)
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number}: is no JSON ({error})",
                    remedy="Every line is one object; mend or remove this one.",
                ) from None


def _read_json(path: Path) -> Iterator[Any]:
    with _text(path) as file:
        text = file.read()
    try:
        whole = load_json(text)
    except ValueError as error:
        if not text.lstrip().startswith("{") or "Extra data" not in str(error):
            raise DataError(
                f"{path}: is no JSON ({error})", remedy="Fetch the file again."
            ) from None
        yield from _lines(text.split("\n"), path)  # JSON lines under another name
        return
    yield from unwrap(whole, path.parent)


def unwrap(whole: Any, folder: Path) -> Iterator[Any]:
    """A parsed JSON file -> its records.

    Args:
        whole: A list of records, a mapping of them by id, or one of the objects that published
            files wrap records in.
        folder: Where the file lies; InstructPix2Pix keeps the words of each
            pair beside its pictures.
    """
    if isinstance(whole, list):
        for row in whole:
            match row:
                case [str(name), list(seeds)]:
                    yield _with_prompt(name, seeds, folder)
                case _:
                    yield row
        return
    if not isinstance(whole, dict):
        return
    shared: Record = {
        name: whole[name]
        for name in ("data_subtype", "split", "dataset")
        if isinstance(whole.get(name), str)
    }
    if isinstance(whole.get("question_type"), dict):  # SEED-Bench: numbers of its dimensions
        shared["question_types"] = {
            str(number): name for name, number in whole["question_type"].items()
        }
    data = whole.get("data")
    if isinstance(data, dict) and isinstance(data.get("dialogs"), list):  # VisDial
        shared |= {name: data.get(name) for name in ("questions", "answers")}
        yield from _sharing(shared, data["dialogs"])
    elif isinstance(data, list):
        yield from data
    elif isinstance(data, dict):
        yield from _by_id(data)
    elif isinstance(whole.get("questions"), list):
        yield from _sharing(shared, whole["questions"])
    elif isinstance(whole.get("sentences"), list):
        yield from whole["sentences"]
    elif isinstance(whole.get("annotations"), list):
        yield from _sharing(shared, _annotations(whole["annotations"], whole.get("images")))
    elif isinstance(whole.get("images"), list):
        yield from _sharing(shared, whole["images"])
    else:
        yield from _by_id(whole)


def _sharing(shared: Record, rows: Iterable[Any]) -> Iterator[Any]:
    """Rows with what their file says of all of them; what is no object stays as it is."""
    yield from (shared | row if isinstance(row, dict) else row for row in rows)


def _annotations(rows: list[Any], images: Any) -> Iterable[Any]:
    if rows and isinstance(rows[0], list):
        return _stories(rows)
    return _coco(rows, images) if isinstance(images, list) and images else rows


def _stories(rows: Iterable[Any]) -> Iterator[Any]:
    """VIST: each part of a story in a list of its own."""
    stories: dict[str, list[Any]] = {}
    for part in (one for row in rows for one in (row if isinstance(row, list) else [row])):
        if _has_ids(part, "story_id"):
            stories.setdefault(str(part["story_id"]), []).append(part)
        else:
            yield part
    yield from ({"story_id": name, "parts": parts} for name, parts in stories.items())


def _coco(rows: Iterable[Any], images: Iterable[Any]) -> Iterator[Any]:
    """COCO's layout -> its annotations by picture, each with the picture's `file_name`; what has no
    numbers comes first, as it is.
    """
    from pycocotools.coco import COCO

    numbered = []
    for row in rows:
        if _has_ids(row, "id", "image_id"):
            numbered.append(row)
        else:
            yield row
    coco = COCO()
    coco.dataset = {
        "annotations": numbered,
        "images": [image for image in images if _has_ids(image, "id")],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    for number in sorted(coco.imgToAnns, key=lambda one: (type(one).__name__, one)):
        name = coco.imgs.get(number, {}).get("file_name")
        yield from (row | ({"file_name": name} if name else {}) for row in coco.imgToAnns[number])


def _has_ids(row: Any, *names: str) -> bool:
    """Whether a row is an object with a number or name in each of these fields."""
    return isinstance(row, dict) and all(isinstance(row.get(name), int | str) for name in names)


def _by_id(rows: Mapping[str, Any]) -> Iterator[Record]:
    for name, row in rows.items():
        yield {"id": name, **row} if isinstance(row, dict) else {"id": name, "items": row}


def _with_prompt(name: str, seeds: list[Any], folder: Path) -> Record:
    try:
        prompt = load_json((folder / name / "prompt.json").read_bytes())
    except (OSError, ValueError):
        prompt = {}
    return {"folder": name, "seeds": seeds, "prompt": prompt}


def _read_table(path: Path) -> Iterator[Record]:
    """Rows of a parquet file, pictures as cells: only their names are read,
    which are beside the bytes.
    """
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    try:
        with pq.ParquetFile(for_arrow(path)) as table:
            pictures = {field.name for field in table.schema_arrow if holds_pictures(field.type)}
            leaves = [table.schema.column(number).path for number in range(len(table.schema))]
            wanted = [
                leaf
                for leaf in leaves
                if leaf.split(".")[0] not in pictures or leaf.endswith(".path")
            ]
            row = 0
            for batch in table.iter_batches(batch_size=1024, columns=wanted, use_threads=False):
                for values in batch.to_pylist():
                    for column in pictures:
                        value = values.get(column)
                        listed = isinstance(value, list)
                        cells = (
                            [Cell(str(path), row, column, place) for place in range(len(value))]
                            if listed
                            else None
                        )
                        values[column] = Cell(str(path), row, column) if cells is None else cells
                    yield values
                    row += 1
    except ArrowException as error:
        raise DataError(
            f"{path}: is no readable parquet file ({error})", remedy="Fetch the file again."
        ) from error


def holds_pictures(kind: Any) -> bool:
    """Whether an Arrow type is that of pictures as `datasets` stores them, bare
    bytes, or a list of such.
    """
    return arrow_kind(kind) in ("image", "binary", "list of image", "list of binary")
