"""Questions about pictures and videos, and captions asked for as such, in each published layout."""

from __future__ import annotations

import json

import pyarrow as pa

from tests.set_files import Published, cells, frames

SHORT = "Please provide an accurate answer consisting of only one word or phrase."
DESCRIBE = "Please provide an accurate and concise description of the given image."
DESCRIBE_VIDEO = "Please provide an accurate and concise description of the given video."
QUESTIONS = {
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
}
