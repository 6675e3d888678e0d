"""Tiny files made by hand in each published layout: what `seed tokens build` is given, and the
documents that it must make of them.

A picture in `documents` is the name of its file in angle brackets; what a layout leaves out on
purpose is among the records too.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SHORT = "Please provide an accurate answer consisting of only one word or phrase."
DESCRIBE = "Please provide an accurate and concise description of the given image."
DESCRIBE_VIDEO = "Please provide an accurate and concise description of the given video."
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Published:
    """One layout: FORMAT, its files (objects are written as their ending says), the
    pictures, and what comes out.
    """

    format: str
    form: str
    files: dict[str, Any]
    pictures: tuple[str, ...]
    documents: list[Any]
    extra: dict[str, Any] = field(default_factory=dict)  # files that are no INPUT

    def write(self, folder: Path) -> list[str]:
        """Writes everything below a folder; returns the INPUT arguments."""
        (folder / "images").mkdir()
        for name in self.pictures:
            write_picture(folder / "images" / name)
        for name, content in {**self.files, **self.extra}.items():
            write_file(folder / name, content)
        return [str(folder / name) for name in self.files]


def png(name: str) -> bytes:
    """Bytes of a picture that its name decides."""
    blocks = np.random.default_rng(list(name.encode())).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(blocks).resize((24, 24)).save(buffer, "PNG")
    return buffer.getvalue()


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(path.name))


def write_file(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pa.Table):
        pq.write_table(content, path, row_group_size=1)
    elif isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, content)) + "\n")
    else:
        path.write_text(json.dumps(content))


def write_noise(folder: Path, number: int) -> list[str]:
    """Random pictures `0.png`, `1.png`, ...; returns their names."""
    rng, names = np.random.default_rng(0), [f"{each}.png" for each in range(number)]
    for name in names:
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return names


def write_captions(path: Path, captions: Sequence[Sequence[str]], train: int = 0) -> Path:
    """Karpathy's layout, a random picture beside it for each list of captions; the last `train` are
    of the training split.
    """
    names = write_noise(path.parent, len(captions))
    splits = ["test"] * (len(captions) - train) + ["train"] * train
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
        for name, split, texts in zip(names, splits, captions, strict=True)
    ]
    path.write_text(json.dumps({"images": images}))
    return path


def tar(**members: bytes) -> bytes:
    """A tar; `a__jpg` is the member `a.jpg`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def cells(*names: str) -> pa.Array:
    """Column of pictures as `datasets` stores them."""
    return pa.array([{"bytes": png(name), "path": name} for name in names], PICTURE)


def frames(video: str, number: int) -> tuple[str, ...]:
    return tuple(f"{video}/{frame}.jpg" for frame in range(1, number + 1))


LLAVA_TURNS = [
    {"from": "human", "value": "<image>\nWhat is it?"},
    {"from": "gpt", "value": "A bus"},
    {"from": "human", "value": "Red?"},
    {"from": "gpt", "value": "Yes."},
]

PUBLISHED = {
    "messages": Published(
        "messages",
        "messages",
        {
            "own.jsonl": [
                {
                    "messages": [
                        {"role": "user", "content": "Look: <image> What?"},
                        {"role": "assistant", "content": "a dog"},
                    ],
                    "images": ["a.png"],
                },
                {
                    "messages": [
                        {"role": "user", "content": "Hi"},
                        {"role": "assistant", "content": [{"type": "image", "image": "a.png"}]},
                    ]
                },
            ]
        },
        ("a.png",),
        [
            [("user", "Look: ", "<a.png>", " What?"), ("assistant", "a dog")],
            [("user", "Hi"), ("assistant", "<a.png>")],
        ],
    ),
    "llava": Published(
        "llava",
        "messages",
        {
            "conversation_58k.json": [
                {"id": "000000000009", "image": "000000000009.jpg", "conversations": LLAVA_TURNS}
            ]
        },
        ("000000000009.jpg",),
        [
            [
                ("user", "<000000000009.jpg>", "What is it?"),
                ("assistant", "A bus."),
                ("user", "Red?"),
                ("assistant", "Yes."),
            ]
        ],
    ),
    "svit": Published(
        "llava",
        "messages",
        {
            "conversation.json": [
                {
                    "image_id": 7,
                    "conversations": [
                        {
                            "content": [
                                {"from": "user", "value": "One?"},
                                {"from": "gpt", "value": "1"},
                            ]
                        },
                        {
                            "content": [
                                {"from": "user", "value": "Two?"},
                                {"from": "gpt", "value": "2!"},
                            ]
                        },
                    ],
                }
            ]
        },
        ("VG_100K_2/7.jpg",),
        [
            [("user", "<7.jpg>", "One?"), ("assistant", "1.")],
            [("user", "<7.jpg>", "Two?"), ("assistant", "2!")],
        ],
    ),
    "lrv": Published(
        "llava",
        "messages",
        {
            "filter_cap1.json": [
                {"image_id": "2334", "question": "What?", "answer": "A tree.", "task": "caption"}
            ]
        },
        ("2334.jpg",),
        [[("user", "<2334.jpg>", "What?"), ("assistant", "A tree.")]],
    ),
    "visdial": Published(
        "visdial",
        "messages",
        {
            "visdial_1.0_train.json": {
                "version": "1.0",
                "split": "train",
                "data": {
                    "questions": ["is it old", "how big is it"],
                    "answers": ["very", "yes"],
                    "dialogs": [
                        {
                            "image_id": 12,
                            "caption": "a house",
                            "dialog": [
                                {
                                    "question": 1,
                                    "answer": 0,
                                    "answer_options": [0, 1],
                                    "gt_index": 0,
                                },
                                {
                                    "question": 0,
                                    "answer": 1,
                                    "answer_options": [0, 1],
                                    "gt_index": 1,
                                },
                            ],
                        }
                    ],
                },
            }
        },
        ("COCO_val2014_000000000012.jpg",),
        [
            [
                (
                    "user",
                    "<COCO_val2014_000000000012.jpg>",
                    (
                        "Answer the questions from the picture, its caption and what was said "
                        "before. Caption: a house. how big is it?"
                    ),
                ),
                ("assistant", "very."),
                ("user", "is it old?"),
                ("assistant", "yes."),
            ]
        ],
    ),
    "vqav2": Published(
        "vqa",
        "question",
        {
            "v2_mscoco_train2014_annotations.json": {
                "data_subtype": "train2014",
                "annotations": [
                    {
                        "question_id": 9001,
                        "image_id": 9,
                        "multiple_choice_answer": "red",
                        "answers": [{"answer": "blue", "answer_id": 1}],
                    },
                    {
                        "question_id": 9000,
                        "image_id": 9,
                        "answers": [{"answer": "a"}, {"answer": "two"}, {"answer": "two"}],
                    },
                ],
            },
            "v2_OpenEnded_mscoco_train2014_questions.json": {
                "data_subtype": "train2014",
                "questions": [
                    {"image_id": 9, "question": "How many?", "question_id": 9000},
                    {"image_id": 9, "question": "What color?", "question_id": 9001},
                ],
            },
        },
        ("COCO_train2014_000000000009.jpg",),
        [
            ["<COCO_train2014_000000000009.jpg>", f"How many? {SHORT}", "two"],
            ["<COCO_train2014_000000000009.jpg>", f"What color? {SHORT}", "red"],
        ],
    ),
    "vizwiz": Published(
        "vqa",
        "question",
        {
            "train.json": [
                {
                    "image": "VizWiz_train_00000001.jpg",
                    "question": "Can?",
                    "answers": [{"answer": "soup", "answer_confidence": "yes"}],
                    "answerable": 1,
                }
            ]
        },
        ("VizWiz_train_00000001.jpg",),
        [["<VizWiz_train_00000001.jpg>", f"Can? {SHORT}", "soup"]],
    ),
    "aokvqa": Published(
        "vqa",
        "question",
        {
            "aokvqa_v1p0_train.json": [
                {
                    "image_id": 5,
                    "question_id": "x",
                    "question": "Why?",
                    "choices": ["a", "b"],
                    "correct_choice_idx": 1,
                    "direct_answers": ["c"],
                },
                {
                    "image_id": 5,
                    "question_id": "y",
                    "question": "Who?",
                    "choices": ["a", "b"],
                    "correct_choice_idx": 1,
                },
            ]
        },
        ("000000000005.jpg",),
        [
            ["<000000000005.jpg>", f"Why? {SHORT}", "c"],
            ["<000000000005.jpg>", f"Who? {SHORT}", "b"],
        ],
    ),
    "vizwiz-table": Published(
        "vqa",
        "question",
        {
            "val-0.parquet": pa.table(
                {
                    "question_id": ["VizWiz_val_00000000.jpg"],
                    "image": cells("v.png"),
                    "question": ["What is this?"],
                    "answers": [["disc", "coin", "disc"]],
                    "category": ["other"],
                }
            )
        },
        (),
        [["<v.png>", f"What is this? {SHORT}", "disc"]],
    ),
    "vqav2-table": Published(
        "vqa",
        "question",
        {
            "validation-0.parquet": pa.table(
                {
                    "multiple_choice_answer": ["3"],
                    "answers": [[{"answer": "three", "answer_confidence": "yes"}]],
                    "image_id": [41],
                    "question_id": [41000],
                    "question": ["How many discs?"],
                    "image": cells("q.png"),
                }
            )
        },
        (),
        [["<q.png>", f"How many discs? {SHORT}", "3"]],
    ),
    "okvqa": Published(
        "vqa",
        "question",
        {
            "OpenEnded_mscoco_train2014_questions.json": {
                "data_subtype": "train2014",
                "questions": [{"image_id": 51, "question": "What game?", "question_id": 510005}],
            },
            "mscoco_train2014_annotations.json": {
                "data_subtype": "train2014",
                "annotations": [
                    {
                        "question_id": 510005,
                        "image_id": 51,
                        "answers": [
                            {"answer_id": 1, "raw_answer": "checkers", "answer": "checker"}
                        ],
                    }
                ],
            },
        },
        ("COCO_train2014_000000000051.jpg",),
        [["<COCO_train2014_000000000051.jpg>", f"What game? {SHORT}", "checkers"]],
    ),
    "aokvqa-table": Published(
        "vqa",
        "question",
        {
            "train-0.parquet": pa.table(
                {
                    "image": cells("k.png"),
                    "question_id": ["q"],
                    "question": ["Why round?"],
                    "choices": [["a", "b", "c", "d"]],
                    "correct_choice_idx": [2],
                    "direct_answers": ["['turn', 'roll', 'roll']"],
                }
            )
        },
        (),
        [["<k.png>", f"Why round? {SHORT}", "roll"]],
    ),
    "gqa": Published(
        "vqa",
        "question",
        {
            "train_balanced_questions.json": {
                "02930152": {
                    "question": "Is the disc dark?",
                    "imageId": "2354786",
                    "answer": "yes",
                    "fullAnswer": "Yes, the disc is dark.",
                }
            }
        },
        ("2354786.jpg",),
        [["<2354786.jpg>", f"Is the disc dark? {SHORT}", "yes"]],
    ),
    "own-questions": Published(
        "vqa",
        "question",
        {
            "mine.ndjson": (
                "\ufeff"
                + json.dumps({"image": "a.png", "question": "Two\u2028lines?", "answer": "one"})
                + "\r\n"
            )
        },
        ("a.png",),
        [["<a.png>", f"Two\u2028lines? {SHORT}", "one"]],
    ),
    "textvqa": Published(
        "vqa",
        "question",
        {
            "TextVQA_0.5.1_train.json": {
                "dataset_name": "textvqa",
                "data": [
                    {
                        "question": "Brand?",
                        "image_id": "00ab",
                        "answers": ["n", "nokia", "nokia"],
                        "set_name": "train",
                    }
                ],
            }
        },
        ("train_images/00ab.jpg",),
        [["<00ab.jpg>", f"Brand? {SHORT}", "nokia"]],
    ),
    "ocrvqa": Published(
        "vqa",
        "question",
        {
            "dataset.json": {
                "0316": {
                    "imageURL": "http://x/y.jpg",
                    "questions": ["Who wrote it?", "Is it?"],
                    "answers": ["Ann", "No"],
                    "split": 1,
                },
                "0317": {
                    "imageURL": "http://x/z.jpg",
                    "questions": ["Test?"],
                    "answers": ["Yes"],
                    "split": 3,
                },
            }
        },
        ("0316.jpg",),
        [["<0316.jpg>", f"Who wrote it? {SHORT}", "Ann"], ["<0316.jpg>", f"Is it? {SHORT}", "No"]],
    ),
    "textcaps": Published(
        "vqa",
        "question",
        {
            "TextCaps_0.1_train.json": {
                "data": [
                    {"image_id": "00ab", "caption_str": "a sign ", "image_path": "train/00ab.jpg"}
                ]
            }
        },
        ("train_images/00ab.jpg",),
        [["<00ab.jpg>", DESCRIBE, "a sign"]],
    ),
    "vsr": Published(
        "vsr",
        "question",
        {
            "train.jsonl": [
                {
                    "image": "000000000001.jpg",
                    "caption": "The cat is under the bed.",
                    "label": 0,
                    "relation": "under",
                }
            ]
        },
        ("000000000001.jpg",),
        [
            [
                "<000000000001.jpg>",
                f"Is this statement about the picture true? The cat is under the bed. {SHORT}",
                "No",
            ]
        ],
    ),
    "nextqa": Published(
        "video-qa",
        "video-question",
        {
            "train.csv": (
                "video,frame_count,width,height,question,answer,qid,type\n"
                "7,100,1,1,why is it,fun,3,CW\n"
            ),
            "mc.csv": "video,question,answer,qid,type,a0,a1,a2,a3,a4\n"
            "7,who is it,2,3,CW,a,b,c,d,e\n",
        },
        frames("7", 16),
        [
            [*(f"<{frame}.jpg>" for frame in range(2, 17, 2)), f"why is it? {SHORT}", "fun"],
            [*(f"<{frame}.jpg>" for frame in range(2, 17, 2)), f"who is it? {SHORT}", "c"],
        ],
    ),
    "activitynet-qa": Published(
        "video-qa",
        "video-question",
        {
            "train_q.json": [
                {"video_name": "abc", "question": "is it dark", "question_id": "v_abc_1"}
            ],
            "train_a.json": [{"answer": "no", "type": 3, "question_id": "v_abc_1"}],
        },
        frames("v_abc", 3),
        [["<1.jpg>", "<2.jpg>", "<3.jpg>", f"is it dark? {SHORT}", "no"]],
    ),
    "video-chatgpt": Published(
        "video-qa",
        "video-question",
        {"VideoInstruct100K.json": [{"q": "What happens?", "a": "A man runs.", "video_id": "v_k"}]},
        frames("v_k", 2),
        [["<1.jpg>", "<2.jpg>", "What happens?", "A man runs."]],
    ),
    "msrvtt-qa": Published(
        "video-qa",
        "video-question",
        {
            "train_qa.json": [
                {
                    "answer": "run",
                    "category_id": 1,
                    "id": 0,
                    "question": "what do they do?",
                    "video_id": 12,
                }
            ]
        },
        frames("video12", 8),
        [["<2.jpg>", "<4.jpg>", "<6.jpg>", "<8.jpg>", f"what do they do? {SHORT}", "run"]],
    ),
    "msrvtt-captions": Published(
        "video-qa",
        "video-question",
        {
            "train_val_videodatainfo.json": {
                "videos": [{"video_id": "video3"}],
                "sentences": [{"caption": "a man", "video_id": "video3", "sen_id": 0}],
            }
        },
        frames("video3", 2),
        [["<1.jpg>", "<2.jpg>", DESCRIBE_VIDEO, "a man"]],
    ),
    "msvd-captions": Published(
        "video-qa",
        "video-question",
        {"AllVideoDescriptions.txt": "# clips\n\n-4ws_5_15 a squirrel eats\n"},
        frames("-4ws_5_15", 2),
        [["<1.jpg>", "<2.jpg>", DESCRIBE_VIDEO, "a squirrel eats"]],
    ),
    "pix2pix-table": Published(
        "instructpix2pix",
        "edit",
        {
            "train-0.parquet": pa.table(
                {
                    "original_image": cells("before.png", "x.png"),
                    "edit_prompt": ["make it red ", "turn"],
                    "edited_image": cells("after.png", "y.png"),
                }
            )
        },
        (),
        [["<before.png>", "make it red", "<after.png>"], ["<x.png>", "turn", "<y.png>"]],
    ),
    "pix2pix-folders": Published(
        "instructpix2pix",
        "edit",
        {"images/seeds.json": [["shard-00/0001", ["12"]]]},
        ("shard-00/0001/12_0.jpg", "shard-00/0001/12_1.jpg"),
        [["<12_0.jpg>", "add snow", "<12_1.jpg>"]],
        {"images/shard-00/0001/prompt.json": {"input": "a", "edit": "add snow", "output": "b"}},
    ),
    "magicbrush-table": Published(
        "magicbrush",
        "edit",
        {
            "train.parquet": pa.table(
                {
                    "img_id": ["1"],
                    "turn_index": [1],
                    "source_img": cells("s.png"),
                    "mask_img": cells("m.png"),
                    "instruction": ["add a hat"],
                    "target_img": cells("t.png"),
                }
            )
        },
        (),
        [["<s.png>", "add a hat", "<t.png>"]],
    ),
    "magicbrush-sessions": Published(
        "magicbrush",
        "edit",
        {
            "edit_sessions.json": {
                "24": [
                    {
                        "input": "24-input.png",
                        "mask": "24-mask1.png",
                        "output": "24-output1.png",
                        "instruction": "add",
                    },
                    {
                        "input": "24-output1.png",
                        "mask": "24-mask2.png",
                        "output": "24-output2.png",
                        "instruction": "remove",
                    },
                ]
            }
        },
        ("24/24-input.png", "24/24-output1.png", "24/24-output2.png"),
        [["<24-input.png>", "add", "<24-output1.png>", "remove", "<24-output2.png>"]],
    ),
    "magicbrush-turns": Published(
        "magicbrush",
        "edit",
        {
            "edit_turns.json": [
                {
                    "input": "24-input.png",
                    "mask": "m.png",
                    "output": "24-output1.png",
                    "instruction": "add",
                }
            ]
        },
        ("24/24-input.png", "24/24-output1.png"),
        [["<24-input.png>", "add", "<24-output1.png>"]],
    ),
    "mimic-it": Published(
        "mimic-it",
        "difference",
        {
            "CGD_instructions.json": {
                "meta": {"version": "0.0.1"},
                "data": {
                    "CGD_INS_000000": {
                        "instruction": "How does image a differ from image b?",
                        "answer": "It is red.",
                        "image_ids": ["CGD_IMG_000000000009", "CGD_IMG_000000000025"],
                        "rel_ins_ids": [],
                    }
                },
            }
        },
        ("000000000009.jpg", "000000000025.jpg"),
        [
            [
                "<000000000009.jpg>",
                "<000000000025.jpg>",
                "How does image a differ from image b?",
                "It is red.",
            ]
        ],
    ),
    "mimic-it-base64": Published(
        "mimic-it",
        "difference",
        {
            "CGD_instructions.json": {
                "data": {
                    "CGD_INS_000000": {
                        "instruction": "What differs?",
                        "answer": "All.",
                        "image_ids": ["CGD_IMG_000000000081", "CGD_IMG_000000000082"],
                    }
                }
            }
        },
        (),
        [["<81.png>", "<82.png>", "What differs?", "All."]],
        {
            "CGD.json": {
                f"CGD_IMG_0000000000{number}": base64.b64encode(png(f"{number}.png")).decode()
                for number in (81, 82)
            }
        },
    ),
    "mimic-it-table": Published(
        "mimic-it",
        "difference",
        {
            "train.parquet": pa.table(
                {
                    "id": ["CGD_INS_000000"],
                    "instruction": ["What differs?"],
                    "answer": ["All."],
                    "images": pa.array(
                        [cells("one.png", "two.png").to_pylist()], pa.list_(PICTURE)
                    ),
                }
            )
        },
        (),
        [["<one.png>", "<two.png>", "What differs?", "All."]],
    ),
    "mimic-it-cauldron": Published(
        "mimic-it",
        "difference",
        {
            "train-0.parquet": pa.table(
                {
                    "images": pa.array(
                        [cells("one.png", "two.png").to_pylist()], pa.list_(PICTURE)
                    ),
                    "texts": [[{"user": "What differs?", "assistant": "All.", "source": "GSD"}]],
                }
            )
        },
        (),
        [["<one.png>", "<two.png>", "What differs?", "All."]],
    ),
    "vist": Published(
        "vist",
        "story",
        {
            "train.story-in-sequence.json": {
                "images": [{"id": "11"}],
                "albums": [],
                "annotations": [
                    [
                        {
                            "story_id": "5",
                            "photo_flickr_id": f"{photo}",
                            "worker_arranged_photo_order": order,
                            "text": "[male] .",
                            "original_text": text,
                        }
                    ]
                    for photo, order, text in ((12, 1, "Then he left."), (11, 0, "Bob came."))
                ],
            }
        },
        ("11.jpg", "12.png"),
        [["Bob came.", "<11.jpg>", "Then he left.", "<12.png>"]],
    ),
    "coco": Published(
        "coco-captions",
        "draw",
        {
            "captions_train2014.json": {
                "images": [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg"}],
                "annotations": [
                    {"image_id": 9, "id": 1, "caption": "A cat. "},
                    {"image_id": 9, "id": 2, "caption": "A pet."},
                ],
            }
        },
        ("COCO_train2014_000000000009.jpg",),
        [
            ["<COCO_train2014_000000000009.jpg>", "A cat."],
            ["<COCO_train2014_000000000009.jpg>", "A pet."],
        ],
    ),
    "karpathy": Published(
        "coco-captions",
        "describe",
        {
            "dataset_coco.json": {
                "dataset": "coco",
                "images": [
                    {
                        "filepath": "val2014",
                        "filename": "b.jpg",
                        "split": "restval",
                        "sentences": [{"raw": "A dog.", "sentid": 4}],
                    },
                    {
                        "filepath": "val2014",
                        "filename": "c.jpg",
                        "split": "test",
                        "sentences": [{"raw": "Unseen.", "sentid": 5}],
                    },
                ],
            }
        },
        ("val2014/b.jpg",),
        [["<b.jpg>", "A dog."]],
    ),
    "flickr30k-csv": Published(
        "coco-captions",
        "describe",
        {
            "flickr_annotations_30k.csv": "raw,sentids,split,filename,img_id\n"
            '"[""disc one"", ""disc two""]","[0, 1]",train,5.jpg,0\n'
            '"[""disc three""]",[2],test,6.jpg,1\n'
        },
        ("5.jpg",),
        [["<5.jpg>", "disc one"], ["<5.jpg>", "disc two"]],
    ),
    "flickr30k-own": Published(
        "coco-captions",
        "describe",
        {"results.csv": 'image_name| comment_number| comment\n5.jpg| 0| A dog , "so" .\n'},
        ("5.jpg",),
        [["<5.jpg>", 'A dog , "so" .']],
    ),
    "caption-lists": Published(
        "coco-captions",
        "describe",
        {
            "list.json": [{"image": "val2014/b.jpg", "caption": "A dog."}],
            "t.parquet": pa.table(
                {"image": cells("c.png"), "sentences": [["A cat.", "A pet."]], "split": ["train"]}
            ),
        },
        ("val2014/b.jpg",),
        [["<b.jpg>", "A dog."], ["<c.png>", "A cat."], ["<c.png>", "A pet."]],
    ),
    "journeydb": Published(
        "journeydb",
        "draw",
        {
            "train_anno_realease_repath.jsonl": [
                {
                    "img_path": "./000/a.jpg",
                    "prompt": "cat --v 5",
                    "Task2": {"Caption": "A painted cat."},
                },
                {"img_path": "./000/b.jpg", "prompt": "a dog"},
            ]
        },
        ("000/a.jpg", "000/b.jpg"),
        [["<a.jpg>", "A painted cat."], ["<b.jpg>", "a dog"]],
    ),
    "webvid": Published(
        "webvid",
        "video-caption",
        {
            "results_10M_train.csv": (
                "videoid,contentUrl,duration,page_dir,name\n"
                "21,http://x/21.mp4,PT9S,009_010,Waves at sea\n"
            )
        },
        frames("009_010/21", 4),
        [["<1.jpg>", "<2.jpg>", "<3.jpg>", "<4.jpg>", "Waves at sea"]],
    ),
    "mmc4": Published(
        "mmc4",
        "interleaved",
        {
            "docs_shard_0_v2.jsonl": [
                {
                    "url": "http://page",
                    "text_list": ["One. ", "Two."],
                    "image_info": [
                        {
                            "image_name": "b.png",
                            "raw_url": "http://x/b.png",
                            "matched_text_index": 1,
                        },
                        {
                            "image_name": "a.png",
                            "raw_url": "http://x/a.png",
                            "matched_text_index": 0,
                        },
                    ],
                }
            ]
        },
        ("a.png", "b.png"),
        [["<a.png>", "One.", "<b.png>", "Two."]],
    ),
    "obelics": Published(
        "obelics",
        "interleaved",
        {
            "train-0.parquet": pa.table(
                {
                    "images": [["http://x/a.png", None, "http://x/gone.png", None]],
                    "texts": [[None, "Words.", None, "More."]],
                    "metadata": ["[]"],
                }
            )
        },
        ("00000/000000003.png",),
        [["<000000003.png>", "Words.", "More."]],
        {
            "images/00000.parquet": pa.table(
                {
                    "url": ["http://x/a.png", "http://x/gone.png"],
                    "key": ["000000003", "000000004"],
                    "status": ["success", "failed"],
                }
            )
        },
    ),
    "obelics-tar": Published(
        "obelics",
        "interleaved",
        {
            "train-0.parquet": pa.table(
                {
                    "images": [["https://x/a.jpg", None, "https://x/b.jpg"]],
                    "texts": [[None, "Words about discs.", None]],
                }
            )
        },
        (),
        [["<a.jpg>", "Words about discs.", "<b.jpg>"]],
        {
            "images/00000.tar": tar(
                a__jpg=png("a.jpg"),
                a__json=b'{"url": "https://x/a.jpg", "key": "a"}',
                b__jpg=png("b.jpg"),
                b__json=b'{"url": "https://x/b.jpg", "key": "b"}',
            ),
            "images/00000.parquet": pa.table({"url": ["https://x/a.jpg"], "key": ["a"]}),
        },
    ),
}
OPTIONS = {"interleaved": {"swap": 0.0, "max_images": 7}}
