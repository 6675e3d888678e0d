"""Question sets by name or file -> questions with their pictures: VQAv2, OK-VQA, VizWiz,
SEED-Bench, three video sets, the bundled emoji, and every layout that `seed tokens build` reads.

Named sets are files that their publishers hand out behind forms and licences, so they are read
from `--data-root` only.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seedcli.benchmarks.image_refs import ImageRef, find_images, no_such_set
from seedcli.benchmarks.named_questions import NAMED_QUESTIONS, Read
from seedcli.data.emoji_questions import read_questions
from seedcli.data.published_sets.formats import set_format
from seedcli.data.published_sets.picture_finder import Named
from seedcli.data.published_sets.questions import Question, numbered
from seedcli.data.published_sets.records import read_records
from seedcli.errors import MALFORMED, DataError, UsageError
from seedcli.storage import as_place, expand_glob, is_file


@dataclass(frozen=True)
class VisualQuestion:
    """A question and its pictures.

    Attributes:
        row: Question, answers, kind and choices.
        pictures: What it is about, in the order in which they are shown: one
            picture, or a video's frames.
        group: What the questions that hang together share, for intervals: the
            picture, the video, the emoji.
    """

    row: Question
    pictures: tuple[ImageRef, ...]
    group: str


@dataclass(frozen=True)
class QuestionSet:
    """Questions of one split.

    Attributes:
        name: As the user says it; a file's stem.
        split: As the set calls it.
        questions: By key, in the order of the file.
        published_split: Whether it is the split that published figures of SEED-LLaMA are of, with
            as many questions; None where nobody knows or nobody published any.
        digest: Of all rows of the split, also where `questions` are fewer: tells a changed file
            from the one that was asked before.
        num_frames: Frames of a video; None for sets of pictures.
    """

    name: str
    split: str
    questions: dict[str, VisualQuestion]
    published_split: bool | None
    digest: str
    num_frames: int | None = None

    @property
    def answered_by(self) -> Literal["generation", "likelihood"]:
        """How its questions are answered by default: by likelihood where all have choices, but for
        the emoji (see `run_vqa`).
        """
        every = all(one.row.choices for one in self.questions.values())
        return "likelihood" if every and self.name != "emoji" else "generation"


def load_question_set(
    dataset: str,
    *,
    split: str | None = None,
    images: Path | None = None,
    data_root: Path | None = None,
    num_frames: int | None = None,
    limit: int | None = None,
    allow_split: bool = False,
) -> QuestionSet:
    """Name or file -> questions and their pictures, all of which are there.

    Args:
        dataset: `emoji`, a name of `NAMED_QUESTIONS`, or a file of a published layout as
            `seed tokens build` reads it, or as `read_question` describes it.
        split: Default: `unseen` for emoji, else the set's; files have none.
        images: Folder of the pictures, in place of where the set has them; for files beside theirs.
        data_root: Where named sets lie.
        num_frames: Frames of a video, in place of the set's number (4 for files).
        limit: The first questions only.
        allow_split: Take a split that has not its official number of questions.

    Raises:
        UsageError: No such set or split.
        DataError: Files or pictures are missing or damaged, or the number of questions
            is not the official one.
    """
    if dataset == "emoji":
        return _emoji_questions(split or "unseen", limit)
    if dataset in NAMED_QUESTIONS:
        named = NAMED_QUESTIONS[dataset]
        split = split or named.default
        if split not in named.splits:
            raise UsageError(
                f"{dataset} has no split {split!r}; it has {', '.join(named.splits)}",
                remedy="--split SPLIT",
            )
        rows, official = _read_named(dataset, split, data_root, images, allow_split)
        folders = (
            [images]
            if images
            else [(data_root or Path()) / folder for folder in named.splits[split].pictures]
        )
        frames = None if named.num_frames is None else num_frames or named.num_frames
        questions = _with_pictures(rows[:limit], folders, frames, dataset)
        published = (
            None
            if named.published is None
            else official and split == named.published and len(questions) == len(rows)
        )
        return QuestionSet(dataset, split, questions, published, _digest(rows), frames)
    path = as_place(dataset)
    if not is_file(dataset):
        raise no_such_set(
            dataset, "question", NAMED_QUESTIONS, "a file of questions (JSON, JSON Lines, parquet)"
        )
    if split is not None:
        raise UsageError(f"{path} has no splits, so no {split!r}", remedy="leave --split out")
    rows = _gather(path, (one for found in _parse(path) for one in found))
    frames = num_frames or 4
    places = [images] if images else [path.parent, path.parent / "images"]
    questions = _with_pictures(rows[:limit], places, frames, str(path))
    return QuestionSet(path.stem, "all", questions, None, _digest(rows), frames)


def _emoji_questions(split: str, limit: int | None) -> QuestionSet:
    found = {}
    for one in read_questions(split):
        picture = one.picture
        ref = ImageRef.holding(picture.key, picture.image)
        row = Question(
            f"{one.kind}/{picture.key}",
            (Named((picture.key,)),),
            one.question,
            (one.answer,),
            one.kind,
            one.choices,
        )
        found[row.key] = VisualQuestion(row, (ref,), picture.base_hexcode)
    # the first so many are of all kinds
    order = sorted(found, key=lambda key: hashlib.sha256(key.encode()).digest())
    rows = [found[key].row for key in order]
    return QuestionSet(
        "emoji", split, {key: found[key] for key in order[:limit]}, None, _digest(rows)
    )


def _digest(rows: Sequence[Question]) -> str:
    """Of what is asked and what is right; not of where pictures lie."""
    said = (
        (row.key, row.picture, row.question, row.answers, row.kind, row.choices, row.stemmed)
        for row in rows
    )
    return hashlib.sha256("\n".join(map(repr, said)).encode()).hexdigest()[:16]


def _read_named(
    dataset: str, split: str, data_root: Path | None, images: Path | None, allow_split: bool
) -> tuple[list[Question], bool]:
    """Rows of a named split, and whether there are as many as there should be."""
    named = NAMED_QUESTIONS[dataset].splits[split]
    lay_out = f"DIR/{' and DIR/'.join(names[0] for names in named.files)}, " + (
        f"frames of video X in DIR/{named.pictures[0]}/X/"
        if NAMED_QUESTIONS[dataset].num_frames
        else f"pictures in DIR/{named.pictures[0]}/"
    )
    remedy = f"--data-root DIR with {lay_out}" + (
        "" if images else "; --images DIR if they lie elsewhere"
    )
    if data_root is None:
        raise DataError(
            f"{dataset} is not downloaded by this program, and no --data-root was given",
            remedy=remedy,
        )
    paths, tried = [], []
    for names in named.files:
        path = next((data_root / name for name in names if is_file(data_root / name)), None)
        if path is None:
            tried += [f"{data_root / name}: no such file" for name in names]
        else:
            paths.append(path)
    if tried:
        globs = (expand_glob(f"{glob.escape(str(data_root))}/{one}") for one in named.tables)
        tables = next(([as_place(one) for one in found] for found in globs if found), [])
        tried += [f"{data_root / one}: no such files" for one in named.tables]
        if not tables:
            raise DataError(
                f"split {split} of {dataset} was not found:\n  " + "\n  ".join(tried),
                remedy=remedy,
            )
        paths = tables
    rows = _gather(paths[0], _read_questions(paths, named.read))
    without = sum(not row.answers for row in rows)
    if len(named.files) > 1 and without:
        raise DataError(
            f"{paths[-1]}: no answers to {without:,} of {len(rows):,} questions of {paths[0]}",
            remedy="use questions and annotations of one split",
        )
    official = len(rows) in named.sizes
    if not official and not allow_split:
        raise DataError(
            f"split {split} of {dataset} has {len(rows):,} questions in {paths[0]}; the published "
            f"one has {' or '.join(f'{size:,}' for size in named.sizes)}",
            remedy="use the published files, or say --allow-split for numbers that must not be "
            "compared with published ones",
        )
    return rows, official


def _read_questions(paths: Sequence[Path], read: Read) -> Iterator[Question]:
    for found in read_records(paths):
        try:
            if found.record is None:
                raise TypeError("it is no object")
            yield from read(found.record)
        except MALFORMED as error:
            raise DataError(
                f"{found.path}, record {found.number}: no question as expected "
                f"({type(error).__name__}: {error})",
                remedy="use the published files",
            ) from None


def _parse(path: Path) -> Iterator[list[Question]]:
    """Records of a file -> their questions, in whichever layout of questions they are."""
    for found in read_records([path]):
        problems = []
        for name in ("vqa", "video-qa"):
            try:
                parsed: list[Any] = set_format(name).parse(found.record or {})
                break
            except DataError as error:
                problems.append(error.message)
        else:
            raise DataError(
                f"{path}, record {found.number}: no question as expected ({problems[0]})",
                remedy='a file of your own is a list of {"image", "question", "answer"}; seed '
                "eval vqa --help",
            )
        yield [one for one in parsed if isinstance(one, Question)]


def _gather(path: Path, found: Iterable[Question]) -> list[Question]:
    rows = numbered(found)
    if not rows:
        raise DataError(f"{path} holds no questions")
    return rows


def _with_pictures(
    rows: Sequence[Question], places: Sequence[Path], num_frames: int | None, source: str
) -> dict[str, VisualQuestion]:
    """Rows -> questions; a picture that is a folder is a video, of which
    some frames stand for it.
    """
    wanted = (picture for row in rows for picture in row.pictures)
    found = find_images(wanted, places, source=source, num_frames=num_frames)
    return {
        row.key: VisualQuestion(
            row, tuple(ref for picture in row.pictures for ref in found[picture]), row.picture
        )
        for row in rows
    }
