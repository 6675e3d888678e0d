"""`seed eval vqa`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seedcli.benchmarks.answers import VQA_DECODING
from seedcli.cli import completion
from seedcli.cli.chat import ChatModelOption, QuantizeOption, TokenizerOption
from seedcli.cli.eval_ask_options import (
    AskTemplateOption,
    BeamsOption,
    CutOption,
    MaxTokensOption,
    PromptOption,
    QuestionRootOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from seedcli.cli.eval_options import (
    AllowSplitOption,
    FirstOption,
    SampleBatchOption,
    SamplesFolderOption,
    show_result,
    tell_failed,
)
from seedcli.cli.options import DeviceOption, DtypeOption, SeedOption
from seedcli.console import console


def vqa(
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="emoji|vqav2|okvqa|vizwiz|seed-bench|msvd|msrvtt|nextqa|FILE",
            autocompletion=completion.one_of(
                "emoji|vqav2|okvqa|vizwiz|seed-bench|msvd|msrvtt|nextqa|FILE"
            ),
            help="A named set, or a file of questions: your own or of a published layout.",
        ),
    ] = "emoji",
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="Default: unseen for emoji, val for vqav2, okvqa, vizwiz, test for videos.",
            show_default=False,
        ),
    ] = None,
    model: ChatModelOption = "seed-nano",
    tokenizer: TokenizerOption = None,
    template: AskTemplateOption = None,
    prompt: PromptOption = None,
    by: Annotated[
        Literal["generation", "likelihood"] | None,
        typer.Option(
            "--by",
            help="Answer in words, or take the likeliest choice; default: choices where there are "
            "any, but for emoji.",
        ),
    ] = None,
    choice_score: Annotated[
        Literal["mean", "sum"],
        typer.Option(
            "--choice-score", help="Log-likelihood of a choice: mean of its tokens, or their sum."
        ),
    ] = "mean",
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            min=1,
            help="Frames of a video; default: 8 for nextqa, else 4.",
            show_default=False,
        ),
    ] = None,
    beams: BeamsOption = VQA_DECODING["num_beams"],
    temperature: TemperatureOption = 0.0,
    top_k: TopKOption = None,
    top_p: TopPOption = 1.0,
    max_new_tokens: MaxTokensOption = VQA_DECODING["max_new_tokens"],
    cut: CutOption = "phrase",
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="Where pictures and videos (files, or folders of frames) lie.",
        ),
    ] = None,
    data_root: QuestionRootOption = None,
    allow_split: AllowSplitOption = False,
    output: SamplesFolderOption = None,
    batch_size: SampleBatchOption = 16,
    limit: FirstOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    quantize: QuantizeOption = None,
) -> None:
    """Questions about pictures and videos: accuracy over all and by kind, beside that of
    answering without a look.

    A FILE is a JSON list, or JSON Lines, of {"image" or "images", "question", "answer" or
    "answers", "choices"?, "kind"?, "key"?}; an image that is a folder is a video. Answers are kept
    in the run's folder; the same command goes on where an interrupted one stopped.

    \b
    Under --data-root, as published:
      vqav2/       v2_OpenEndedQuestions_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, val2014/
      okvqa/       OpenEnded_mscoco_val2014_questions.json, mscoco_val2014_annotations.json; pictures also in coco/val2014/
      vizwiz/      Annotations/val.json, val/
      seed-bench/  SEED-Bench.json, SEED-Bench-image/
      msvd/        test_qa.json, frames/vid1451/
      msrvtt/      test_qa.json, frames/video7010/
      nextqa/      test.csv (open or multiple choice), frames/4010069381/

    \b
    Example:
      seed eval vqa
      seed eval vqa --by likelihood --limit 200
      seed eval vqa --dataset vqav2 --data-root ~/data --model seed-llama-8b-sft
      seed eval vqa --dataset seed-bench --data-root ~/data --model seed-llama-8b-sft
    """  # noqa: E501
    from seedcli.workflows.evaluate.asking import AskSettings
    from seedcli.workflows.evaluate.vqa import run_vqa

    result = run_vqa(
        dataset,
        split=split,
        ask=AskSettings(
            model=model,
            tokenizer=tokenizer,
            template=template,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            num_beams=beams,
            max_new_tokens=max_new_tokens,
            seed=seed,
            device=device,
            dtype=dtype,
            quantize=quantize,
        ),
        prompt=prompt,
        by=by,
        choice_score=choice_score,
        cut=cut,
        num_frames=frames,
        images=images,
        data_root=data_root,
        allow_split=allow_split,
        batch_size=batch_size,
        limit=limit,
        output=output,
        reporter=console,
    )
    console.result(result, human=_show_vqa)
    tell_failed(result, "questions")


def _show_vqa(result: dict[str, Any]) -> str:
    lines = [show_result(result)]
    if "submission" in result:
        lines.append(
            "this split's answers are kept by its evaluation server, which takes "
            f"{result['submission']}"
        )
        return "\n".join(lines)
    lines.append(f"{'answered without a look':<28}{result['majority']['accuracy']:>9.2f}")
    for kind, part in result.get("kinds", {}).items():
        ends = "{:.2f} .. {:.2f}".format(*part["intervals"]["accuracy"])
        blind = f"without a look {part['majority']['accuracy']:.2f}"
        lines.append(
            f"{kind or 'no kind':<28}{part['metrics']['accuracy']:>9.2f}  {ends:>18}  {blind}, "
            f"{part['num_questions']} questions"
        )
    return "\n".join(lines)
