"""`seed eval clip-similarity`: drawn pictures against true ones, under a CLIP model."""

from typing import Annotated, Any, Literal

import typer

from seedcli.cli.chat import (
    BeamsOption,
    ChatModelOption,
    CodeGuidanceOption,
    MaxTokensOption,
    PictureGuidanceOption,
    PictureStepsOption,
    QuantizeOption,
    TemperatureOption,
    TokenizerOption,
    TopKOption,
    TopPOption,
    UnconstrainedOption,
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
)
from seedcli.cli.options import DeviceOption, DtypeOption, SeedOption
from seedcli.console import console

TaskOption = Annotated[
    Literal["text", "image"],
    typer.Option(
        "--task",
        help="text: caption -> picture by the language model; image: picture -> codes -> picture.",
    ),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="CLIP model that compares: ARCHITECTURE/WEIGHTS of open_clip, hf-hub:ID or a folder. "
        "Default: the bundled one for emoji, ViT-L-14/openai else.",
    ),
]
PromptOption = Annotated[
    Literal["caption", "request"] | None,
    typer.Option(
        "--prompt",
        help="The caption alone, or a request in a conversation; by default as the "
        "model was taught.",
    ),
]
RequestOption = Annotated[
    str | None,
    typer.Option(
        "--request",
        metavar="TEXT",
        help="Words of the request, with {caption} in them (or {thing}: with its article).",
    ),
]
NegativeOption = Annotated[
    Literal["unconditional"] | None,
    typer.Option(
        "--negative",
        help="Pictures move away from what the language model draws unasked, as in the "
        "official evaluation.",
    ),
]
CeilingOption = Annotated[
    bool,
    typer.Option(
        "--ceiling",
        help="Also draw from the true target embedding: what a perfect tokenizer would reach.",
    ),
]


def clip_similarity(
    task: TaskOption = "text",
    dataset: DatasetOption = "emoji",
    split: SplitOption = None,
    model: ChatModelOption = "seed-nano",
    tokenizer: TokenizerOption = None,
    judge: JudgeOption = None,
    prompt: PromptOption = None,
    request: RequestOption = None,
    ceiling: CeilingOption = False,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    beams: BeamsOption = None,
    max_new_tokens: MaxTokensOption = None,
    code_guidance: CodeGuidanceOption = None,
    unconstrained: UnconstrainedOption = False,
    picture_steps: PictureStepsOption = None,
    picture_guidance: PictureGuidanceOption = None,
    negative: NegativeOption = None,
    seed: SeedOption = 0,
    output: SamplesFolderOption = None,
    limit: FirstOption = None,
    batch_size: SampleBatchOption = 8,
    images: ImageFolderOption = None,
    data_root: DataRootOption = None,
    allow_split: AllowSplitOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    quantize: QuantizeOption = None,
) -> None:
    """Similarity of drawn pictures to the true ones and to their captions, x100,
    with the level of chance.

    Pictures, answers and a page that shows them (index.html) are kept in a folder; a run that was
    stopped goes on where it was. Without sampling options decoding is that of the official
    evaluation: 4 beams, temperature 0 (its pictures: --negative unconditional --picture-guidance
    5). With --task image, --model is a visual tokenizer.

    \b
    Examples:
      seed eval clip-similarity --limit 50
      seed eval clip-similarity --task image --ceiling
      seed eval clip-similarity --dataset coco --data-root ~/data --model seed-llama-8b-sft -o runs/coco
    """  # noqa: E501
    from seedcli.workflows.evaluate.caption_codes import CaptionSettings
    from seedcli.workflows.evaluate.clip_similarity import SimilaritySettings, run_clip_similarity

    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "num_beams": beams,
        "max_new_tokens": max_new_tokens,
        "code_guidance": code_guidance,
    }
    settings = SimilaritySettings(
        task=task,
        dataset=dataset,
        split=split,
        images=images,
        data_root=data_root,
        allow_split=allow_split,
        captions=CaptionSettings(
            model=model,
            tokenizer=tokenizer,
            prompt=prompt,
            request=request,
            sampling={name: value for name, value in given.items() if value is not None},
            constrained=not unconstrained,
            seed=seed,
            device=device,
            dtype=dtype,
            quantize=quantize,
        ),
        steps=picture_steps,
        guidance=picture_guidance,
        negative=negative is not None,
        ceiling=ceiling,
        judge=judge,
        output=output,
        limit=limit,
        batch_size=batch_size,
    )
    console.result(run_clip_similarity(settings, reporter=console), human=_show)


def _show(result: dict[str, Any]) -> str:
    lines = [
        show_result(result),
        (
            f"judge {result['judge']['name']}; clip_* x100, valid in percent of answers; pictures: "
            f"{result['sheet']}"
        ),
    ]
    lines += [
        (
            f"{name}, {part['num_images']} images: clip_i {part['metrics']['clip_i']:.2f}, clip_t "
            f"{part['metrics']['clip_t']:.2f}"
        )
        for name, part in result["subsets"].items()
        if part["metrics"]["clip_i"] is not None
    ]
    return "\n".join(lines)
