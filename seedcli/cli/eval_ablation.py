"""`seed eval ablation`: causal against bilateral codes, LoRA alone against LoRA and a full phase,
pictures from their first codes.
"""

from typing import Any

from seedcli.cli.eval_tables import show_result
from seedcli.console import console
from seedcli.workflows.evaluate.ablation.request import AblationRequest

_PAPER = (
    "the paper, 5,000 COCO captions: 4,997 answers of exactly 32 codes with causal codes, 2,134 "
    "with bilateral ones"
)


def ablation(request: AblationRequest) -> None:
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
    from seedcli.workflows.evaluate.run import measure

    shown = {"masks": _show_masks, "lora": show_result, "prefix": _show_prefix}
    console.result(measure(request, reporter=console), human=shown[request.kind])


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
