"""Question sets by name or file -> questions with their pictures: VQAv2, OK-VQA, VizWiz,
SEED-Bench, three video sets, the bundled emoji, and every layout that `seed tokens build` reads.

Named sets are files that their publishers hand out behind forms and licences, so they are read
from `--data-root` only.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seedcli.benchmarks.image_refs import ImageRef, find_images
from seedcli.data.emoji_questions import read_questions
from seedcli.data.published_sets import questions as readers
from seedcli.data.published_sets.formats import set_format
from seedcli.data.published_sets.picture_finder import Named
from seedcli.data.published_sets.questions import Question, numbered
from seedcli.data.published_sets.records import Record, read_records
from seedcli.errors import DataError, UsageError

Read = Callable[[Record], Iterable[Question]]


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


@dataclass(frozen=True)
class SplitFiles:
    """What a split of a named set is made of.

    Attributes:
        files: Paths under the data root that must all exist; each a choice, the
            first that exists is taken.
        pictures: Folders under the data root where pictures, or folders of frames, may lie.
        read: Record -> questions.
        sizes: Official numbers of questions; more than one where a name stands for two files.
        tables: Patterns of parquet files that hold questions and pictures, as the hub has them;
            looked for where `files` are not there.
    """

    files: tuple[tuple[str, ...], ...]
    pictures: tuple[str, ...]
    read: Read
    sizes: tuple[int, ...]
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedQuestions:
    """A published set.

    Attributes:
        default: The split that is taken unless another one is named.
        published: The split that published figures are of; None where they do not say.
        splits: By name.
        num_frames: Frames that stand for a video; None for pictures.
    """

    default: str
    published: str | None
    splits: Mapping[str, SplitFiles]
    num_frames: int | None = None


def _vqa_split(
    root: str, part: str, names: Sequence[str], size: int, table: str, read: Read
) -> SplitFiles:
    return SplitFiles(
        files=tuple((f"{root}/{name}", f"{root}/annotations/{name}") for name in names),
        pictures=(f"{root}/{part}", f"coco/{part}", f"coco/images/{part}", "coco/images"),
        read=lambda record: read(record | {"data_subtype": part}),
        sizes=(size,),
        tables=_tables(root, table),
    )


def _tables(root: str, split: str) -> tuple[str, ...]:
    return (f"{root}/{split}-*.parquet", f"{root}/data/{split}-*.parquet")


def _video_split(root: str, split: str, size: int) -> SplitFiles:
    files = ((f"{root}/{split}_qa.json",),)
    return SplitFiles(files, (f"{root}/frames",), readers.read_msrvtt_qa, (size,))


def _nextqa_split(split: str, *sizes: int) -> SplitFiles:
    return SplitFiles(((f"nextqa/{split}.csv",),), ("nextqa/frames",), readers.read_nextqa, sizes)


def _vizwiz_split(split: str, size: int) -> SplitFiles:
    files = ((f"vizwiz/Annotations/{split}.json", f"vizwiz/{split}.json"),)
    tables = _tables("vizwiz", split)
    return SplitFiles(files, (f"vizwiz/{split}",), readers.read_question, (size,), tables)


def _read_okvqa(record: Record) -> list[Question]:
    """OK-VQA is scored by word stems, whether the file has stems or, as tables do, words."""
    return [dataclasses.replace(one, stemmed=True) for one in readers.read_vqa(record)]


_V2 = "v2_OpenEnded_mscoco_{}_questions.json"
_V2_NOTES = "v2_mscoco_{}_annotations.json"
# Numbers of questions: pages of the publishers (visualqa.org, okvqa.allenai.org, vizwiz.org; Li et
# al. 2023, table 2; Xu et al. 2017; Xiao et al. 2021). NExT-QA has multiple-choice and open
# questions in files of one name. Frames: AILab-CVC/SEED@93b3cf4, torchdata_eval.py.
NAMED_QUESTIONS = {
    "vqav2": NamedQuestions(
        default="val",
        published="test-dev",
        splits={
            split: _vqa_split(
                "vqav2",
                part,
                [name.format(named) for name in (_V2, _V2_NOTES)[: 1 if "test" in split else 2]],
                size,
                table,
                readers.read_vqa,
            )
            for split, part, named, size, table in (
                ("train", "train2014", "train2014", 443_757, "train"),
                ("val", "val2014", "val2014", 214_354, "validation"),
                ("test-dev", "test2015", "test-dev2015", 107_394, "testdev"),
                ("test", "test2015", "test2015", 447_793, "test"),
            )
        },
    ),
    "okvqa": NamedQuestions(
        default="val",
        published="val",
        splits={
            split: _vqa_split(
                "okvqa",
                f"{split}2014",
                [
                    f"OpenEnded_mscoco_{split}2014_questions.json",
                    f"mscoco_{split}2014_annotations.json",
                ],
                size,
                f"{split}2014",
                _read_okvqa,
            )
            for split, size in (("train", 9_009), ("val", 5_046))
        },
    ),
    "vizwiz": NamedQuestions(
        default="val",
        published=None,
        splits={
            split: _vizwiz_split(split, size)
            for split, size in (("train", 20_523), ("val", 4_319), ("test", 8_000))
        },
    ),
    "seed-bench": NamedQuestions(
        default="image",
        published="image",
        splits={
            "image": SplitFiles(
                (("seed-bench/SEED-Bench.json",),),
                ("seed-bench/SEED-Bench-image",),
                readers.read_seed_bench,
                (14_233,),
            )
        },
    ),
    "msvd": NamedQuestions(
        default="test",
        published="test",
        splits={
            split: _video_split("msvd", split, size)
            for split, size in (("train", 30_933), ("val", 6_415), ("test", 13_157))
        },
        num_frames=4,
    ),
    "msrvtt": NamedQuestions(
        default="test",
        published="test",
        splits={
            split: _video_split("msrvtt", split, size)
            for split, size in (("train", 158_581), ("val", 12_278), ("test", 72_821))
        },
        num_frames=4,
    ),
    "nextqa": NamedQuestions(
        default="test",
        published="test",
        splits={
            "train": _nextqa_split("train", 34_132, 37_523),
            "val": _nextqa_split("val", 4_996, 5_343),
        }
        | {"test": _nextqa_split("test", 8_564, 9_178)},
        num_frames=8,
    ),
}


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
        UsageError: No such set, file or split.
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
    path = Path(dataset)
    if not path.is_file():
        raise UsageError(
            f"no question set or file is called {dataset!r}",
            remedy=f"--dataset takes emoji, {', '.join(NAMED_QUESTIONS)}, or a file of questions "
            "(JSON, JSON Lines, parquet)",
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
        ref = ImageRef(
            picture.key,
            hashlib.sha256(picture.image).hexdigest(),
            lambda image=picture.image: image,
        )
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
        path = next((data_root / name for name in names if (data_root / name).is_file()), None)
        if path is None:
            tried += [f"{data_root / name}: no such file" for name in names]
        else:
            paths.append(path)
    if tried:
        tables = next((found for one in named.tables if (found := sorted(data_root.glob(one)))), [])
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
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
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
