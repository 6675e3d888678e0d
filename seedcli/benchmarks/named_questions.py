"""Published question sets by name: which files a split is made of, as their publishers call them,
where its pictures lie, and how many questions it has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from seedcli.data.published_sets import questions as readers
from seedcli.data.published_sets.questions import Question
from seedcli.data.published_sets.records import Record

Read = Callable[[Record], Iterable[Question]]


@dataclass(frozen=True)
class SplitFiles:
    """What a split of a named set is made of.

    Attributes:
        files: Paths under the data root that must all exist; each a choice, the
            first that exists is taken.
        pictures: Folders under the data root where pictures and videos may lie.
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
