"""Question sets by name or file -> questions with their pictures: VQAv2, OK-VQA, VizWiz,
SEED-Bench, three video sets, the bundled emoji.

Named sets are files that their publishers hand out behind forms and licences, so they are read
from `--data-root` only.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seedcli.benchmarks.retrieval_sets import ImageRef
from seedcli.benchmarks.vqa_files import (
    QuestionRow,
    number_repeated,
    read_nextqa,
    read_question_list,
    read_seed_bench,
    read_video_qa,
    read_vizwiz,
    read_vqa,
)
from seedcli.data.emoji_questions import read_questions
from seedcli.errors import DataError, UsageError

Read = Callable[[Sequence[Any]], list[QuestionRow]]  # contents of a split's files -> rows
_FRAMES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


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

    row: QuestionRow
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
        read: Contents of the files -> rows.
        sizes: Official numbers of questions; more than one where a name stands for two files.
    """

    files: tuple[tuple[str, ...], ...]
    pictures: tuple[str, ...]
    read: Read
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class NamedQuestions:
    """A published set.

    Attributes:
        default: The split that is taken unless another one is named.
        published: The split that published figures are of; None where they do not say.
        splits: By name.
        num_frames: Frames that stand for a video; None for pictures.
        frame_folders: How a video's folder of frames may be called, `{}` where its id stands.
    """

    default: str
    published: str | None
    splits: Mapping[str, SplitFiles]
    num_frames: int | None = None
    frame_folders: tuple[str, ...] = ("{}",)


def _vqa_split(
    root: str, part: str, questions: str, annotations: str | None, size: int
) -> SplitFiles:
    names = [questions] if annotations is None else [questions, annotations]
    return SplitFiles(
        files=tuple((f"{root}/{name}", f"{root}/annotations/{name}") for name in names),
        pictures=(f"{root}/{part}", f"coco/{part}", f"coco/images/{part}", "coco/images"),
        read=lambda contents: read_vqa(
            contents[0],
            contents[1] if len(contents) > 1 else None,
            picture=f"COCO_{part}_{{:012d}}.jpg",
        ),
        sizes=(size,),
    )


def _video_split(root: str, split: str, size: int) -> SplitFiles:
    return SplitFiles(
        ((f"{root}/{split}_qa.json",),),
        (f"{root}/frames",),
        lambda contents: read_video_qa(contents[0]),
        (size,),
    )


def _nextqa_split(split: str, *sizes: int) -> SplitFiles:
    return SplitFiles(
        ((f"nextqa/{split}.csv",),),
        ("nextqa/frames",),
        lambda contents: read_nextqa(contents[0]),
        sizes,
    )


def _vizwiz_split(split: str, size: int) -> SplitFiles:
    files = ((f"vizwiz/Annotations/{split}.json", f"vizwiz/{split}.json"),)
    return SplitFiles(
        files, (f"vizwiz/{split}",), lambda contents: read_vizwiz(contents[0]), (size,)
    )


_V2 = "v2_OpenEndedQuestions_mscoco_{}_questions.json"
# Numbers of questions: pages of the publishers (visualqa.org, okvqa.allenai.org, vizwiz.org; Li et
# al. 2023, table 2; Xu et al. 2017; Xiao et al. 2021). NExT-QA has multiple-choice and open
# questions in files of one name. Frames: AILab-CVC/SEED@93b3cf4, torchdata_eval.py.
NAMED_QUESTIONS = {
    "vqav2": NamedQuestions(
        default="val",
        published="test-dev",
        splits={
            "train": _vqa_split(
                "vqav2",
                "train2014",
                _V2.format("train2014"),
                "v2_mscoco_train2014_annotations.json",
                443_757,
            ),
            "val": _vqa_split(
                "vqav2",
                "val2014",
                _V2.format("val2014"),
                "v2_mscoco_val2014_annotations.json",
                214_354,
            ),
            "test-dev": _vqa_split("vqav2", "test2015", _V2.format("test-dev2015"), None, 107_394),
            "test": _vqa_split("vqav2", "test2015", _V2.format("test2015"), None, 447_793),
        },
    ),
    "okvqa": NamedQuestions(
        default="val",
        published="val",
        splits={
            split: _vqa_split(
                "okvqa",
                f"{split}2014",
                f"OpenEnded_mscoco_{split}2014_questions.json",
                f"mscoco_{split}2014_annotations.json",
                size,
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
                lambda contents: read_seed_bench(contents[0]),
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
        frame_folders=("{}", "vid{}"),
    ),
    "msrvtt": NamedQuestions(
        default="test",
        published="test",
        splits={
            split: _video_split("msrvtt", split, size)
            for split, size in (("train", 158_581), ("val", 12_278), ("test", 72_821))
        },
        num_frames=4,
        frame_folders=("{}", "video{}"),
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
        dataset: `emoji`, a name of `NAMED_QUESTIONS`, or a JSON or JSON Lines file as
            `read_question_list` describes it.
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
        questions = _with_pictures(rows[:limit], folders, named.frame_folders, frames)
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
            remedy=f"--dataset takes emoji, {', '.join(NAMED_QUESTIONS)}, or a JSON "
            "file of questions",
        )
    if split is not None:
        raise UsageError(f"{path} has no splits, so no {split!r}", remedy="leave --split out")
    rows = _parse(path, lambda contents: read_question_list(contents[0]), [path])
    frames = num_frames or 4
    questions = _with_pictures(
        rows[:limit], [images] if images else [path.parent, path.parent / "images"], ("{}",), frames
    )
    return QuestionSet(path.stem, "all", questions, None, _digest(rows), frames)


def pick_frames(files: Sequence[Path], num_frames: int) -> list[Path]:
    """Frames of a video in order -> the middle one of each of `num_frames` equal stretches; a frame
    stands twice where there are fewer.

    Source: AILab-CVC/SEED@93b3cf4:MultiModalLLM/src/data/torchdata_eval.py, which seeks one frame
    earlier, by mistake as it seems.
    """
    return [files[(2 * place + 1) * len(files) // (2 * num_frames)] for place in range(num_frames)]


def _emoji_questions(split: str, limit: int | None) -> QuestionSet:
    found = {}
    for one in read_questions(split):
        picture = one.picture
        ref = ImageRef(
            picture.key,
            hashlib.sha256(picture.image).hexdigest(),
            lambda image=picture.image: image,
        )
        row = QuestionRow(
            f"{one.kind}/{picture.key}",
            picture.key,
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


def _digest(rows: Sequence[QuestionRow]) -> str:
    return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()[:16]


def _read_named(
    dataset: str, split: str, data_root: Path | None, images: Path | None, allow_split: bool
) -> tuple[list[QuestionRow], bool]:
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
        raise DataError(
            f"split {split} of {dataset} was not found:\n  " + "\n  ".join(tried), remedy=remedy
        )
    rows = _parse(paths[0], named.read, paths)
    official = len(rows) in named.sizes
    if not official and not allow_split:
        raise DataError(
            f"split {split} of {dataset} has {len(rows):,} questions in {paths[0]}; the published "
            f"one has {' or '.join(f'{size:,}' for size in named.sizes)}",
            remedy="use the published files, or say --allow-split for numbers that must not be "
            "compared with published ones",
        )
    return rows, official


def _parse(path: Path, read: Read, paths: Sequence[Path]) -> list[QuestionRow]:
    try:
        rows = number_repeated(read([_read_content(each) for each in paths]))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{', '.join(map(str, paths))}: no questions as expected "
            f"({type(error).__name__}: {error})",
            remedy='a file of your own is a list of {"image", "question", "answer"}; seed '
            "eval vqa --help",
        ) from None
    if not rows:
        raise DataError(f"{path} holds no questions")
    return rows


def _read_content(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def _with_pictures(
    rows: Sequence[QuestionRow],
    folders: Sequence[Path],
    names: Sequence[str],
    num_frames: int | None,
) -> dict[str, VisualQuestion]:
    """Rows -> questions; a picture that is a folder is a video, of which
    some frames stand for it.
    """
    found: dict[str, tuple[ImageRef, ...]] = {}
    missing: list[str] = []
    wanted = dict.fromkeys(picture for row in rows for picture in (row.picture, *row.more_pictures))
    for picture in wanted:
        choices = [folder / name.format(picture) for folder in folders for name in names]
        path = next(
            (choice for choice in choices if choice.is_file() or (num_frames and choice.is_dir())),
            None,
        )
        files = [] if path is None else [path] if path.is_file() else _frames(path, num_frames or 1)
        if not files:
            missing.append(str(path or choices[0]))
        found[picture] = tuple(_ref(file) for file in files)
    if missing:
        what = (
            "videos have no frames" if num_frames and names != ("{}",) else "pictures are missing"
        )
        raise DataError(
            f"{len(missing):,} of {len(wanted):,} {what}, first {missing[0]}; looked in "
            f"{', '.join(map(str, folders))}",
            remedy="--images DIR says where they lie"
            + ("; a video is a folder of its frames, which sort by number" if num_frames else ""),
        )
    return {
        row.key: VisualQuestion(
            row,
            tuple(ref for picture in (row.picture, *row.more_pictures) for ref in found[picture]),
            row.picture,
        )
        for row in rows
    }


def _frames(folder: Path, num_frames: int) -> list[Path]:
    files = [file for file in folder.iterdir() if file.suffix.lower() in _FRAMES]
    files.sort(
        key=lambda file: ([int(number) for number in re.findall(r"\d+", file.stem)], file.name)
    )
    return pick_frames(files, num_frames) if files else []


def _ref(file: Path) -> ImageRef:
    stat = file.stat()
    return ImageRef(str(file), f"{file}:{stat.st_size}:{stat.st_mtime_ns}", lambda: file)
