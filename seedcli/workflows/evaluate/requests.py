"""What the benchmarks of `seed eval` are asked for: a data set, a model, and how it answers.

A request is measured by `measure` (`workflows/evaluate/run.py`), for a person and for
`seedcli.evaluate` alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from seedcli.benchmarks.answers import AnswerCut
from seedcli.benchmarks.caption import CaptionTokenisation
from seedcli.benchmarks.vqa import ChoiceScore
from seedcli.console import Reporter
from seedcli.options import (
    BatchSizeOption,
    DeviceOption,
    DtypeOption,
    LimitOption,
    ModelOption,
    Option,
    PageOption,
    UnconstrainedOption,
    Without,
)
from seedcli.storage import as_place
from seedcli.workflows.evaluate.fields import (
    DATA,
    AllowSplitOption,
    JudgedFields,
    LanguageModelFields,
    RunFields,
    SampleBatchOption,
    SetFields,
)
from seedcli.workflows.sampling import SAMPLING, SamplingOptions

if TYPE_CHECKING:
    from seedcli.benchmarks.caption_sets import CaptionSet
    from seedcli.benchmarks.vqa_sets import QuestionSet

ANSWERS = "How answers are asked for and scored"

Feature = Literal["causal", "codes"]
AskTemplate = Literal["vicuna", "llama-2", "own", "plain"]
AnswerBy = Literal["generation", "likelihood"]
PromptKind = Literal["caption", "request"]
Task = Literal["text", "image"]


@dataclass(frozen=True, kw_only=True)
class RetrievalRequest(RunFields, SetFields):
    """Which pictures and captions find each other, by which feature."""

    model: ModelOption = "seed-nano"
    feature: Annotated[
        Feature, Option("Causal embeddings, or those reconstructed from the codes.")
    ] = "causal"
    query: Annotated[
        int | None,
        Option("Use this query's feature; default: the last, which sees all the others.", min=0),
    ] = None
    by_query: Annotated[
        bool, Option("Also score every query, and say how much the queries differ.")
    ] = False
    batch_size: BatchSizeOption = 64
    limit: LimitOption = None
    page: PageOption = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    cache: Annotated[bool, Option("Neither read nor keep embeddings on disk.", "--no-cache")] = True


@dataclass(frozen=True, kw_only=True)
class AskSettings(LanguageModelFields):
    """Whom to ask, and how answers are written."""

    template: Annotated[
        AskTemplate | None,
        Option(
            "How questions are written; default: as the model was taught. plain: no conversation, "
            "as pretrained.",
            panel=ANSWERS,
        ),
    ] = None
    num_beams: Annotated[
        int, Option("Beams of beam search; 1 is none.", "--beams", min=1, panel=SAMPLING)
    ] = 1
    temperature: Annotated[
        float, Option("0 takes the likeliest token.", min=0.0, panel=SAMPLING)
    ] = 0.0
    top_k: Annotated[
        int | None,
        Option(
            "With a temperature: only so many likeliest tokens; 0: all. Default: the model's.",
            min=0,
            panel=SAMPLING,
        ),
    ] = None
    top_p: Annotated[
        float,
        Option(
            "With a temperature: the likeliest of this probability.",
            min=0.0,
            max=1.0,
            panel=SAMPLING,
        ),
    ] = 1.0
    max_new_tokens: Annotated[int, Option("Longest answer.", min=1, panel=SAMPLING)] = 32


@dataclass(frozen=True, kw_only=True)
class AnswerFields(RunFields):
    """What is asked of each sample, and what of its answer is scored."""

    prompt: Annotated[
        str | None,
        Option(
            "What follows the picture; default: the words of the published protocol.",
            metavar="TEXT",
            panel=ANSWERS,
        ),
    ] = None
    cut: Annotated[
        AnswerCut,
        Option(
            "What of an answer is scored: its first line without the final period, the first "
            "line, or all.",
            panel=ANSWERS,
        ),
    ] = "phrase"


@dataclass(frozen=True, kw_only=True)
class CaptionRequest(AnswerFields, SetFields):
    """Which pictures are described, by whom, and how the descriptions are scored."""

    ask: AskSettings = field(default_factory=lambda: AskSettings(num_beams=5, max_new_tokens=120))
    shots: Annotated[
        int,
        Option(
            "Described pictures shown before each; the official script for pretrained models "
            "has 2.",
            min=0,
            panel=ANSWERS,
        ),
    ] = 0
    shots_split: Annotated[str, Option("The split that they come from.", panel=ANSWERS)] = "train"
    words: Annotated[
        CaptionTokenisation,
        Option(
            "What words are: our rules; Stanford's tokenizer, as published (needs Java); what "
            "spaces part.",
            panel=ANSWERS,
        ),
    ] = "words"

    def load_captions(self, reporter: Reporter) -> CaptionSet:
        """See `emoji_captions` and `load_retrieval_set`."""
        from seedcli.benchmarks.caption_sets import captions_by_picture, emoji_captions

        if self.dataset == "emoji":
            return emoji_captions(self.split or "unseen")
        return captions_by_picture(self.load_set(reporter))


@dataclass(frozen=True, kw_only=True)
class VqaRequest(AnswerFields):
    """Which questions are asked, of whom, and how the answers are scored."""

    dataset: Annotated[
        str,
        Option(
            "A named set, or a file of questions: your own or of a published layout.",
            metavar="emoji|vqav2|okvqa|vizwiz|seed-bench|msvd|msrvtt|nextqa|FILE",
            panel=DATA,
        ),
    ] = "emoji"
    split: Annotated[
        str | None,
        Option(
            "Default: unseen for emoji, val for vqav2, okvqa, vizwiz, test for videos.", panel=DATA
        ),
    ] = None
    ask: AskSettings = field(default_factory=lambda: AskSettings(max_new_tokens=16))
    by: Annotated[
        AnswerBy | None,
        Option(
            "Answer in words, or take the likeliest choice; default: choices where there are any, "
            "but for emoji.",
            panel=ANSWERS,
        ),
    ] = None
    choice_score: Annotated[
        ChoiceScore,
        Option("Log-likelihood of a choice: mean of its tokens, or their sum.", panel=ANSWERS),
    ] = "mean"
    num_frames: Annotated[
        int | None,
        Option("Frames of a video; default: 8 for nextqa, else 4.", "--frames", min=1, panel=DATA),
    ] = None
    images: Annotated[
        Path | None,
        Option(
            "Where pictures and videos (files, or folders of frames) lie.",
            metavar="DIR",
            panel=DATA,
            parse=as_place,
        ),
    ] = None
    data_root: Annotated[
        Path | None,
        Option(
            "Where named sets lie, an address does as well; none is downloaded.",
            metavar="DIR",
            panel=DATA,
            parse=as_place,
        ),
    ] = None
    allow_split: AllowSplitOption = False

    def load_questions(self) -> QuestionSet:
        """See `load_question_set`."""
        from seedcli.benchmarks.vqa_sets import load_question_set

        return load_question_set(
            self.dataset,
            split=self.split,
            images=self.images,
            data_root=self.data_root,
            num_frames=self.num_frames,
            limit=self.limit,
            allow_split=self.allow_split,
        )


@dataclass(frozen=True, kw_only=True)
class CaptionSettings(LanguageModelFields):
    """How captions are asked; what `sampling` leaves out is as in the official evaluation."""

    prompt: Annotated[
        PromptKind | None,
        Option(
            "The caption alone, or a request in a conversation; by default as the model was "
            "taught.",
            panel=ANSWERS,
        ),
    ] = None
    request: Annotated[
        str | None,
        Option(
            "Words of the request, with {caption} in them (or {thing}: with its article).",
            metavar="TEXT",
            panel=ANSWERS,
        ),
    ] = None
    sampling: Annotated[SamplingOptions, Without("seed")] = field(default_factory=SamplingOptions)
    constrained: UnconstrainedOption = True


@dataclass(frozen=True, kw_only=True)
class SimilaritySettings(JudgedFields, RunFields, SetFields):
    """What is drawn, and from what; for the task `image` only `model`, `seed`, `device` and `dtype`
    of `captions` count.
    """

    task: Annotated[
        Task,
        Option(
            "text: caption -> picture by the language model; image: picture -> codes -> picture."
        ),
    ] = "text"
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    ceiling: Annotated[
        bool,
        Option("Also draw from the true target embedding: what a perfect tokenizer would reach."),
    ] = False
    negative: Annotated[
        Literal["unconditional"] | None,
        Option(
            "Pictures move away from what the language model draws unasked, as in the official "
            "evaluation."
        ),
    ] = None
    batch_size: SampleBatchOption = 8
