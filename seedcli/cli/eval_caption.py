"""`seed eval caption`."""

from typing import Annotated, Any, Literal

import typer

from seedcli.benchmarks.answers import CAPTION_DECODING
from seedcli.cli.chat import ChatModelOption, QuantizeOption, TokenizerOption
from seedcli.cli.eval_ask_options import (
    AskTemplateOption,
    BeamsOption,
    CutOption,
    MaxTokensOption,
    PromptOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from seedcli.cli.eval_options import (
    AllowSplitOption,
    DataRootOption,
    DatasetOption,
    FirstOption,
    ImageFolderOption,
    SampleBatchOption,
    SamplesFolderOption,
    SplitOption,
    show_result,
    tell_failed,
)
from seedcli.cli.options import DeviceOption, DtypeOption, SeedOption
from seedcli.console import console


def caption(
    dataset: DatasetOption = "emoji",
    split: SplitOption = None,
    model: ChatModelOption = "seed-nano",
    tokenizer: TokenizerOption = None,
    template: AskTemplateOption = None,
    prompt: PromptOption = None,
    shots: Annotated[
        int,
        typer.Option(
            "--shots",
            min=0,
            help="Described pictures shown before each; the official script for "
            "pretrained models has 2.",
        ),
    ] = 0,
    shots_split: Annotated[
        str, typer.Option("--shots-split", help="The split that they come from.")
    ] = "train",
    beams: BeamsOption = CAPTION_DECODING["num_beams"],
    temperature: TemperatureOption = 0.0,
    top_k: TopKOption = None,
    top_p: TopPOption = 1.0,
    max_new_tokens: MaxTokensOption = CAPTION_DECODING["max_new_tokens"],
    cut: CutOption = "phrase",
    words: Annotated[
        Literal["words", "ptb", "none"],
        typer.Option(
            "--words",
            help="What words are: our rules; Stanford's tokenizer, as published (needs Java); "
            "what spaces part.",
        ),
    ] = "words",
    images: ImageFolderOption = None,
    data_root: DataRootOption = None,
    allow_split: AllowSplitOption = False,
    output: SamplesFolderOption = None,
    batch_size: SampleBatchOption = 16,
    limit: FirstOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    quantize: QuantizeOption = None,
) -> None:
    """Descriptions of pictures against reference captions: CIDEr, BLEU, ROUGE-L; for emoji also the
    rank of the right name.

    Answers are kept in the run's folder; the same command goes on where an interrupted one stopped,
    and scores without asking again.

    \b
    Example:
      seed eval caption
      seed eval caption --dataset coco --data-root ~/data --model seed-llama-8b-sft --words ptb
      seed eval caption --dataset coco --data-root ~/data --model seed-llama-8b-pretrain --shots 2
    """
    from seedcli.workflows.evaluate.asking import AskSettings
    from seedcli.workflows.evaluate.caption import run_caption

    result = run_caption(
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
        shots=shots,
        shots_split=shots_split,
        cut=cut,
        words=words,
        images=images,
        data_root=data_root,
        allow_split=allow_split,
        batch_size=batch_size,
        limit=limit,
        output=output,
        reporter=console,
    )
    console.result(result, human=_show_caption)
    tell_failed(result, "images")


def _show_caption(result: dict[str, Any]) -> str:
    lines = [show_result(result)]
    for name, part in result.get("subsets", {}).items():
        figures = ", ".join(
            f"{metric} {'none' if value is None else f'{value:.1f}'}"
            for metric, value in part["metrics"].items()
        )
        lines.append(f"{name} ({part['num_images']}): {figures}")
    return "\n".join(lines)
