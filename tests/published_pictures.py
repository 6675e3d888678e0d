"""Pictures changed, told as stories, captioned, or between the words of a page, in each published
layout.
"""

from __future__ import annotations

import base64

import pyarrow as pa

from tests.set_files import PICTURE, Published, cells, frames, png, tar

PICTURES = {
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
