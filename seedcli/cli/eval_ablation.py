"""`seed eval ablation`: causal against bilateral codes, LoRA alone against LoRA and a full phase,
pictures from their first codes.
"""

from typing import Annotated, Any

import typer

from seedcli.cli.chat import (
    PictureGuidanceOption,
    PictureStepsOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from seedcli.cli.eval_clip_similarity import JudgeOption
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
from seedcli.cli.options import DeviceOption, DtypeOption
from seedcli.console import console
from seedcli.errors import UsageError

_PAPER = (
    "the paper, 5,000 COCO captions: 4,997 answers of exactly 32 codes with causal codes, 2,134 "
    "with bilateral ones"
)

CausalOption = Annotated[
    str | None,
    typer.Option(
        "--causal",
        metavar="MODEL",
        help="Language model of a causal tokenizer; with --prefix also a tokenizer alone.",
    ),
]
BilateralOption = Annotated[
    str | None, typer.Option("--bilateral", metavar="MODEL", help="The same of its bilateral twin.")
]
LoraOption = Annotated[
    str | None,
    typer.Option(
        "--lora",
        metavar="MODEL",
        help="Compare this language model, trained by LoRA alone, with that of --full.",
    ),
]
FullOption = Annotated[
    str | None,
    typer.Option(
        "--full", metavar="MODEL", help="Language model with a full phase after its LoRA phase."
    ),
]
PrefixOption = Annotated[
    bool, typer.Option("--prefix", help="How much of a picture do its first K codes hold?")
]
LengthsOption = Annotated[
    str | None,
    typer.Option(
        "--lengths",
        metavar="K,K,...",
        help="Values of K; default: 1, 2, 4, 8, 16, 24 and all.",
        show_default=False,
    ),
]
EveryOption = Annotated[bool, typer.Option("--every", help="Every K from 1 to all.")]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="N,N,...",
        help="Seeds of generation; default: 0,1,2, with --prefix 0.",
        show_default=False,
    ),
]
DecoderOption = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        metavar="MODEL",
        help="Whose picture decoder draws for both; default: that of --causal or --full.",
    ),
]


def ablation(
    causal: CausalOption = None,
    bilateral: BilateralOption = None,
    lora: LoraOption = None,
    full: FullOption = None,
    prefix: PrefixOption = False,
    lengths: LengthsOption = None,
    every: EveryOption = False,
    seeds: SeedsOption = None,
    dataset: DatasetOption = "emoji",
    split: SplitOption = None,
    judge: JudgeOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    decoder: DecoderOption = None,
    picture_steps: PictureStepsOption = None,
    picture_guidance: PictureGuidanceOption = None,
    output: SamplesFolderOption = None,
    limit: FirstOption = None,
    batch_size: SampleBatchOption = 16,
    images: ImageFolderOption = None,
    data_root: DataRootOption = None,
    allow_split: AllowSplitOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Two models that differ in one thing: what does it change?

    Without --lora and --prefix: how many answers to captions hold an image of exactly 32 codes when
    nothing constrains them, how alike the pictures are to the true ones, and how well the next code
    is predicted, for causal and bilateral codes. Decoding is temperature 1 and top-p 0.5, as in the
    official inference script, unless told otherwise.

    \b
    Examples:
      seed eval ablation --causal runs/nano-pretrain/model --bilateral runs/nano-bilateral-pretrain/model
      seed eval ablation --lora runs/nano-lora-only/model --full runs/nano-pretrain/model
      seed eval ablation --prefix --limit 50
      seed eval ablation --prefix --every --causal seed-nano --bilateral runs/nano-bilateral-codebook/model
    """  # noqa: E501
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    sampling = {name: value for name, value in given.items() if value is not None}
    _check(
        causal,
        bilateral,
        lora,
        full,
        prefix=prefix,
        lengths=lengths,
        every=every,
        sampling=sampling,
    )
    from seedcli.workflows.evaluate.ablation.sides import AblationSettings

    settings = AblationSettings(
        dataset=dataset,
        split=split,
        images=images,
        data_root=data_root,
        allow_split=allow_split,
        judge=judge,
        sampling=sampling,
        seeds=_numbers("--seeds", seeds) or ((0,) if prefix else (0, 1, 2)),
        decoder=decoder,
        steps=picture_steps,
        guidance=picture_guidance,
        output=output,
        limit=limit,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    if prefix:
        from seedcli.workflows.evaluate.ablation.prefix import run_prefix

        wanted = _numbers("--lengths", lengths)
        result = run_prefix(
            causal or "seed-nano",
            bilateral,
            settings,
            lengths=wanted,
            every=every,
            reporter=console,
        )
        console.result(result, human=_show_prefix)
    elif lora and full:
        from seedcli.workflows.evaluate.ablation.lora import run_lora

        console.result(run_lora(lora, full, settings, reporter=console), human=show_result)
    elif causal and bilateral:
        from seedcli.workflows.evaluate.ablation.masks import run_masks

        console.result(run_masks(causal, bilateral, settings, reporter=console), human=_show_masks)


def _check(
    causal: str | None,
    bilateral: str | None,
    lora: str | None,
    full: str | None,
    *,
    prefix: bool,
    lengths: str | None,
    every: bool,
    sampling: dict[str, Any],
) -> None:
    """Refuses options of which one would have no effect."""
    if (lora or full) and (prefix or causal or bilateral):
        raise UsageError(
            "--lora and --full are one ablation, --causal, --bilateral and --prefix another",
            remedy="one of them at a time",
        )
    if (lora is None) != (full is None):
        raise UsageError(
            f"--{'lora' if lora else 'full'} alone compares nothing",
            remedy="--lora MODEL --full MODEL; seed pretrain nano-lora-only trains the first, seed "
            "pretrain nano-pretrain the second",
        )
    if not prefix and lora is None and not (causal and bilateral):
        raise UsageError(
            f"--{'bilateral' if causal else 'causal'} is missing: two language models are compared",
            remedy="--causal MODEL --bilateral MODEL; recipes nano-pretrain and "
            "nano-bilateral-pretrain train them, see seed recipes ls",
        )
    if not prefix and (lengths or every):
        raise UsageError(
            f"{'--lengths' if lengths else '--every'} has no effect without --prefix",
            remedy="--prefix",
        )
    if lengths and every:
        raise UsageError(
            "--every is every K, so --lengths has no effect", remedy="leave one of them out"
        )
    if prefix and sampling:
        raise UsageError(
            "with --prefix the language model chooses as its folder advises",
            remedy="leave --temperature, --top-k and --top-p out",
        )


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` -> numbers."""
    if text is None:
        return None
    try:
        numbers = tuple(dict.fromkeys(int(each) for each in text.split(",")))
    except ValueError:
        numbers = (-1,)
    if min(numbers) < 0:
        raise UsageError(
            f"{option} {text}: expected whole numbers from 0 on with commas between them",
            remedy=f"{option} 0,1,2",
        )
    return numbers


def _show_masks(result: dict[str, Any]) -> str:
    lines = [show_result(result)]
    for seed, sides in result["by_seed"].items():
        counts = ", ".join(
            f"{side} {count['valid']:,} of {count['of']:,}" for side, count in sides.items()
        )
        lines.append(f"seed {seed}, answers of exactly {_num_codes(result)} codes: {counts}")
    for side, histogram in result["histograms"].items():
        ends = ", ".join(f"{count:,} {end}" for end, count in histogram["ends"].items())
        common = sorted(histogram["lengths_of_closed"].items(), key=lambda item: -item[1])[:6]
        lines.append(
            f"{side} images: {ends}; codes of closed ones: "
            + (", ".join(f"{length} ({n:,})" for length, n in common) or "none")
        )
    return "\n".join(
        [
            *lines,
            f"({_PAPER})",
            f"judge {result['judge']['name']}; plots: {', '.join(result['plots'])}",
        ]
    )


def _num_codes(result: dict[str, Any]) -> int:
    return len(next(iter(result["curves"].values()))["conditional"]["mean"])


def _show_prefix(result: dict[str, Any]) -> str:
    files = ", ".join([*result["plots"], result["strip"]])
    return (
        f"{show_result(result)}\n"
        f"judge {result['judge']['name']}, similarity to the original x100; plots: {files}"
    )
