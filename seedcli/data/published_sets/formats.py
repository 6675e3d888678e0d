"""The published layouts that `seed tokens build` reads: one table from FORMAT to its layouts, and
what its documents serve.

A layout is known by the fields of its records. Sources name who describes it; `checked` says
whether files as published have been read with it, which but for our own none have: layouts are
written from their descriptions and from loaders that read them, tests from files made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from seedcli.data.documents.documents import Sample
from seedcli.data.published_sets import dialogues, pictures, questions
from seedcli.data.published_sets.pictures import Captioned
from seedcli.data.published_sets.questions import Question
from seedcli.data.published_sets.records import Record
from seedcli.errors import MALFORMED, DataError, UsageError, did_you_mean

Parsed = Sample | Question | Captioned


@dataclass(frozen=True)
class Layout:
    """One published layout.

    Attributes:
        sets: What is published in it.
        files: The INPUT to name.
        fields: A record of this layout has them all; the first layout that fits a record reads it.
        read: Record -> samples whose pictures are references (`data.picture_finder`), cells, or
            codes; keys are given later. Questions and captions, which are measured too, become
            samples in `SetFormat.read`.
        source: Where the layout is described.
        checked: Whether files as published have been read.
    """

    sets: str
    files: str
    fields: tuple[str, ...]
    read: Callable[[Record], Iterable[Parsed]]
    source: str
    checked: bool = False


@dataclass(frozen=True)
class SetFormat:
    """What FORMAT stands for.

    Attributes:
        content: What rows of its shards are.
        forms: Forms of a recipe's source that read them.
        layouts: In the order in which they are tried.
        keeps_rest: A document goes on without a picture that cannot be read;
            elsewhere it is dropped.
    """

    content: Literal["segments", "messages"]
    forms: tuple[str, ...]
    layouts: tuple[Layout, ...]
    keeps_rest: bool = False

    def read(self, record: Record) -> list[Sample]:
        """Record -> what training reads of it; none where it is not of the training part.

        Raises:
            DataError: It fits no layout, or is not what its layout promises.
        """
        return self._of_layout(
            record,
            lambda layout: [one for parsed in layout.read(record) for one in _samples(parsed)],
        )

    def parse(self, record: Record) -> list[Parsed]:
        """Record -> questions, captions or samples as measuring reads them, of whatever part.

        Raises:
            DataError: As `read`.
        """
        return self._of_layout(record, lambda layout: list(layout.read(record)))

    def _of_layout(self, record: Record, read: Callable[[Layout], list[Any]]) -> list[Any]:
        layout = next(
            (
                one
                for one in self.layouts
                if all(record.get(field) is not None for field in one.fields)
            ),
            None,
        )
        if layout is None:
            raise DataError(
                f"fields {', '.join(sorted(map(str, record)))}; expected "
                + ", or ".join(" + ".join(one.fields) for one in self.layouts)
            )
        try:
            return read(layout)
        except DataError:
            raise
        except MALFORMED as error:
            raise DataError(
                f"is no record of {layout.sets} ({type(error).__name__}: {error})"
            ) from None


def _samples(parsed: Parsed) -> list[Sample]:
    match parsed:
        case Question():
            return [parsed.as_sample()]
        case Captioned():
            return parsed.as_samples()
    return [parsed]


_LLAVA = "https://github.com/haotian-liu/LLaVA (docs/Data.md)"
_VQA = "https://visualqa.org/vqa_v2_download.html"
_OTTER = (
    "https://github.com/Luodian/Otter (mimic-it/README.md), "
    "https://huggingface.co/datasets/pufanyi/MIMICIT"
)
_XUDEJING = "https://github.com/xudejing/video-question-answering"

FORMATS: dict[str, SetFormat] = {
    "messages": SetFormat(
        "messages",
        ("messages",),
        (Layout("your own, seed chat's /save", "JSON lines", ("messages",), dialogues.read_own,
                "this project", checked=True),),
    ),
    "llava": SetFormat(
        "messages",
        ("messages",),
        (
            Layout("SVIT", "conversation.json, ...", ("image_id", "conversations"),
                   dialogues.read_svit, "loaders of SVIT on GitHub"),
            Layout("LLaVA, LLaVA-595K, LLaVAR", "*.json", ("conversations",), dialogues.read_llava,
                   _LLAVA),
            Layout("LRV-Instruction", "*.json", ("image_id", "question", "answer"),
                   dialogues.read_lrv,
                   "https://github.com/FuxiaoLiu/LRV-Instruction"),
        ),
    ),
    "visdial": SetFormat(
        "messages",
        ("messages",),
        (Layout("VisDial 1.0", "visdial_1.0_train.json",
                ("image_id", "caption", "dialog", "questions", "answers"), dialogues.read_visdial,
                "https://visualdialog.org/data"),),
    ),
    "vqa": SetFormat(
        "segments",
        ("question",),
        (
            Layout("TextVQA", "TextVQA_0.5.1_train.json",
                   ("question", "image_id", "answers", "set_name"), questions.read_textvqa,
                   "https://textvqa.org/dataset/"),
            Layout("VQAv2, OK-VQA", "questions and annotations, two .json",
                   ("question_id", "question", "image_id", "answers"),
                   questions.read_vqa, _VQA),
            Layout("VizWiz; VizWiz, OK-VQA and VQAv2 as tables", "train.json, *.parquet",
                   ("image", "question", "answers"), questions.read_question,
                   "https://vizwiz.org/tasks-and-datasets/vqa/, "
                   "https://huggingface.co/lmms-lab"),
            Layout("A-OKVQA", "aokvqa_v1p0_train.json, *.parquet",
                   ("question", "correct_choice_idx"), questions.read_aokvqa,
                   "https://github.com/allenai/aokvqa"),
            Layout("GQA", "train_balanced_questions.json", ("imageId", "question"),
                   questions.read_gqa,
                   "https://cs.stanford.edu/people/dorarad/gqa/download.html"),
            Layout("OCR-VQA", "dataset.json", ("imageURL", "questions", "answers"),
                   questions.read_ocrvqa, "https://ocr-vqa.github.io/"),
            Layout("TextCaps", "TextCaps_0.1_train.json", ("caption_str", "image_id"),
                   questions.read_textcaps,
                   "https://textvqa.org/textcaps/dataset/"),
            Layout("your own", "JSON lines", ("question", "image"), questions.read_question,
                   "this project", checked=True),
            Layout("your own, several pictures", "JSON lines", ("question", "images"),
                   questions.read_question, "this project", checked=True),
        ),
    ),
    "vsr": SetFormat(
        "segments",
        ("question",),
        (Layout("VSR", "train.jsonl", ("image", "caption", "label"), questions.read_vsr,
                "https://github.com/cambridgeltl/visual-spatial-reasoning"),),
    ),
    "video-qa": SetFormat(
        "segments",
        ("video-question",),
        (
            Layout("NExT-QA", "train.csv", ("video", "question", "answer", "qid"),
                   questions.read_nextqa,
                   "https://github.com/doc-doc/NExT-QA, NExT-OE"),
            Layout("ActivityNet-QA", "train_q.json and train_a.json",
                   ("video_name", "question", "answer"), questions.read_activitynet_qa,
                   "https://github.com/MILVLG/activitynet-qa"),
            Layout("Video-ChatGPT", "VideoInstruct100K.json", ("video_id", "q", "a"),
                   questions.read_video_chatgpt,
                   "https://github.com/mbzuai-oryx/Video-ChatGPT"),
            Layout("MSR-VTT-QA, MSVD-QA", "train_qa.json", ("video_id", "question", "answer"),
                   questions.read_msrvtt_qa, _XUDEJING),
            Layout("MSR-VTT captions", "train_val_videodatainfo.json", ("video_id", "caption"),
                   questions.read_msrvtt_captions,
                   "MSR-VTT's own videodatainfo"),
            Layout("MSVD captions", "AllVideoDescriptions.txt", ("name", "text"),
                   questions.read_msvd_captions,
                   "MSVD's own AllVideoDescriptions"),
        ),
    ),
    "instructpix2pix": SetFormat(
        "segments",
        ("edit",),
        (
            Layout("InstructPix2Pix, table", "*.parquet",
                   ("original_image", "edit_prompt", "edited_image"), pictures.read_pix2pix_table,
                   "https://huggingface.co/datasets/timbrooks/instructpix2pix-clip-filtered"),
            Layout("InstructPix2Pix, folders", "seeds.json", ("folder", "seeds", "prompt"),
                   pictures.read_pix2pix_folder,
                   "https://github.com/timothybrooks/instruct-pix2pix"),
        ),
    ),
    "magicbrush": SetFormat(
        "segments",
        ("edit",),
        (
            Layout("MagicBrush, table", "*.parquet", ("source_img", "instruction", "target_img"),
                   pictures.read_magicbrush_table,
                   "https://huggingface.co/datasets/osunlp/MagicBrush"),
            Layout("MagicBrush, sessions", "edit_sessions.json", ("id", "items"),
                   pictures.read_magicbrush_session,
                   "https://osu-nlp-group.github.io/MagicBrush/"),
            Layout("MagicBrush, turns", "edit_turns.json", ("input", "output", "instruction"),
                   pictures.read_magicbrush_turn,
                   "https://osu-nlp-group.github.io/MagicBrush/"),
        ),
    ),
    "mimic-it": SetFormat(
        "segments",
        ("difference",),
        (
            Layout("MIMIC-IT CGD", "CGD_instructions.json", ("instruction", "answer", "image_ids"),
                   pictures.read_difference, _OTTER),
            Layout("MIMIC-IT CGD, table", "*.parquet", ("instruction", "answer", "images"),
                   pictures.read_difference, _OTTER),
            Layout("The Cauldron's shape", "*.parquet", ("images", "texts"),
                   pictures.read_cauldron,
                   "https://huggingface.co/datasets/HuggingFaceM4/the_cauldron"),
        ),
    ),
    "vist": SetFormat(
        "segments",
        ("story",),
        (Layout("VIST, stories in sequence", "train.story-in-sequence.json", ("story_id", "parts"),
                pictures.read_story,
                "https://visionandlanguage.net/VIST/dataset.html"),),
    ),
    "coco-captions": SetFormat(
        "segments",
        ("caption", "describe", "draw"),
        (
            Layout("COCO captions", "captions_train2014.json", ("file_name", "caption"),
                   pictures.read_captions,
                   "https://cocodataset.org/#format-data"),
            Layout("Karpathy's COCO, Flickr30K", "dataset_coco.json",
                   ("filename", "sentences"), pictures.read_captions,
                   "https://cs.stanford.edu/people/karpathy/deepimagesent/"),
            Layout("Flickr30K, table of the hub", "flickr_annotations_30k.csv", ("filename", "raw"),
                   pictures.read_captions, "https://huggingface.co/datasets/nlphuji/flickr30k"),
            Layout("Flickr30K, its own table", "results.csv", ("image_name", "comment"),
                   pictures.read_captions, "https://shannon.cs.illinois.edu/DenotationGraph/"),
            Layout("lists of pictures and captions", "coco_karpathy_train.json, *.parquet",
                   ("image", "caption"), pictures.read_captions,
                   "https://github.com/salesforce/BLIP"),
            Layout("tables with lists of sentences", "*.parquet", ("image", "sentences"),
                   pictures.read_captions, "https://huggingface.co/datasets/HuggingFaceM4/COCO"),
            Layout("tables with texts", "*.parquet", ("image", "text"), pictures.read_captions,
                   "https://huggingface.co/datasets/royokong/coco_test"),
        ),
    ),
    "journeydb": SetFormat(
        "segments",
        ("draw", "caption"),
        (Layout("JourneyDB", "train_anno_realease_repath.jsonl", ("img_path",),
                pictures.read_journeydb,
                "https://huggingface.co/datasets/JourneyDB/JourneyDB"),),
    ),
    "webvid": SetFormat(
        "segments",
        ("video-caption",),
        (Layout("WebVid", "results_10M_train.csv", ("videoid", "name"), pictures.read_webvid,
                "https://github.com/m-bain/webvid"),),
    ),
    "mmc4": SetFormat(
        "segments",
        ("interleaved",),
        (Layout("MMC4", "docs_shard_N_v2.jsonl.zip", ("text_list", "image_info"),
                pictures.read_mmc4, "https://github.com/allenai/mmc4"),),
        keeps_rest=True,
    ),
    "obelics": SetFormat(
        "segments",
        ("interleaved",),
        (Layout("OBELICS", "train-N-of-M.parquet", ("images", "texts"), pictures.read_obelics,
                "https://huggingface.co/datasets/HuggingFaceM4/OBELICS"),),
        keeps_rest=True,
    ),
}  # fmt: skip


def set_format(name: str) -> SetFormat:
    """FORMAT's name -> format.

    Raises:
        UsageError: No format is called that.
    """
    if name not in FORMATS:
        raise UsageError(
            f"no FORMAT is called {name}{did_you_mean(name, FORMATS)}",
            remedy=f"There are {', '.join(FORMATS)}. See: seed tokens formats",
        )
    return FORMATS[name]
