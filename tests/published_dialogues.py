"""Conversations about pictures in each published layout."""

from __future__ import annotations

from tests.set_files import Published

LLAVA_TURNS = [
    {"from": "human", "value": "<image>\nWhat is it?"},
    {"from": "gpt", "value": "A bus"},
    {"from": "human", "value": "Red?"},
    {"from": "gpt", "value": "Yes."},
]

DIALOGUES = {
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
}
