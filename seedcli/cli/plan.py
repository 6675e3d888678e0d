"""`seed plan`: what a run would cost."""

from typing import Annotated, Any

from seedcli.cli.plan_tokenize import TOKENIZE, plan_tokenize
from seedcli.cli.terminal import table
from seedcli.console import console
from seedcli.errors import UsageError
from seedcli.options import Argument, Dtype, Option, OverridesArgument

OF_PICTURES = "seed plan tokenize"


def plan(
    recipe: Annotated[
        str,
        Argument(
            "A TOML file, the name of a shipped recipe (seed recipes ls), or tokenize.",
            metavar="RECIPE",
            complete="recipes",
        ),
    ],
    overrides: OverridesArgument = (),
    gpus: Annotated[
        str,
        Option(
            "Devices, e.g. a100-40g:64, h100:8, rtx4090:1, cpu:2 (cores).",
            metavar="KIND:NUMBER",
            complete="devices",
        ),
    ] = "a100-40g:8",
    utilisation: Annotated[
        float | None,
        Option(
            "Share of the devices' peak that the arithmetic gets; default: 0.4, an assumption, or "
            "what seed bench tokenize measured."
        ),
    ] = None,
    images: Annotated[
        str | None, Option("How many pictures, e.g. 500M.", metavar="N", panel=OF_PICTURES)
    ] = None,
    model: Annotated[
        str,
        Option(
            "A preset, a folder with weights, or a hub id.",
            "-m",
            metavar="MODEL",
            complete="tokenizers",
            panel=OF_PICTURES,
        ),
    ] = "seed-2",
    dtype: Annotated[
        Dtype, Option("Of the arithmetic; auto is float32.", panel=OF_PICTURES)
    ] = "auto",
    image_bytes: Annotated[
        int | None, Option("Mean size of a picture's file.", min=1, panel=OF_PICTURES)
    ] = None,
) -> None:
    """Parameters, memory and hours of a recipe of any training; loads no weights. Of a language
    model also memory by ZeRO stage, tokens and padding. In place of a recipe tokenize asks for
    hours, bytes and the storage that keeps up with so many pictures.

    \b
    Example:
      seed plan vicuna7b --gpus a100-40g:64
      seed plan vicuna7b --gpus h100-80g:8 full.optimization.steps=5000 --json
      seed plan seed2-unclip-on-codes --gpus a100-80g:8
      seed plan tokenize --images 500M --gpus h100:64 --dtype bfloat16
    """
    if recipe == TOKENIZE:
        plan_tokenize(
            images,
            gpus=gpus,
            model=model,
            dtype="float32" if dtype == "auto" else dtype,
            utilisation=utilisation,
            image_bytes=image_bytes,
        )
        return
    if images is not None or image_bytes is not None:
        raise UsageError(
            f"--images and --image-bytes are of pictures, and {recipe} is a recipe",
            remedy="seed plan tokenize --images 500M",
        )
    from seedcli.recipe.read import load_recipe
    from seedcli.workflows.train.plan import UTILISATION, run

    console.result(
        run(
            load_recipe(recipe, overrides),
            gpus=gpus,
            utilisation=UTILISATION if utilisation is None else utilisation,
            reporter=console,
        ),
        human=_show,
    )


def _show_stage(plan: dict[str, Any]) -> str:
    devices, memory, flop = plan["devices"], plan["memory_per_device_gb"], plan["gflop_per_image"]
    limit = f" of {devices['memory_gb']:g}" if devices["memory_gb"] else ""
    frozen = "in every update" if plan["frozen_every_step"] else "once, beforehand, and not counted"
    return "\n".join(
        [
            f"seed {plan['command']} {plan['recipe']} on {devices['count']} x {devices['kind']}",
            f"at {devices['utilisation']:.0%} of their "
            f"{devices['peak_tflops'] * devices['count']:g} TFLOP/s, an assumption",
            "",
            f"{plan['trained_parameters']:,} parameters trained, "
            f"{plan['frozen_parameters']:,} frozen",
            f"{plan['steps']:,} updates, {plan['images']:,} images of {flop['learning']:.3g} "
            f"GFLOP; frozen networks {flop['frozen']:.3g} GFLOP, {frozen}",
            f"GB on each device{limit}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in memory.items()),
            "",
            f"In all {plan['hours']:.2f} h: {plan['device_hours']:,.1f} device hours.",
        ]
    )


def _show(plan: dict[str, Any]) -> str:
    if "stage" in plan:
        return _show_stage(plan)
    devices, model = plan["devices"], plan["model"]
    where = f"{devices['count']} x {devices['kind']}"
    lines = [
        f"seed {plan['command']} {plan['recipe']} on {where}",
        (
            f"at {devices['utilisation']:.0%} of their "
            f"{devices['peak_tflops'] * devices['count']:g} TFLOP/s, an assumption"
        ),
        f"{model['start']}: {model['parameters']:,} parameters with {model['vocab_size']} tokens, "
        f"{model['num_layers']} layers of {model['hidden_size']}",
    ]
    shown: set[str] = set()
    for phase in plan["phases"]:
        mixture = phase["mixture"]
        if (key := repr(mixture)) not in shown:
            shown.add(key)
            lines += [
                "",
                (
                    f"Documents of phase {phase['phase']}: {mixture['mean_tokens']:.0f} "
                    "tokens on average"
                ),
            ]
            lines += table(
                ["share", "source", "form", "tokens"],
                [
                    [
                        f"{one['share']:.1%}",
                        one["source"],
                        one["form"],
                        f"{one['mean_tokens']:.0f} of {one['max_tokens']}",
                    ]
                    for one in mixture["sources"]
                ],
                figures=(0, 3),
            )
            bases: dict[str, list[str]] = {}
            for one in mixture["sources"]:
                bases.setdefault(one["lengths"], []).append(one["source"])
            lines += [
                f"lengths: {basis}" + (f": {', '.join(names)}" if len(bases) > 1 else "")
                for basis, names in bases.items()
            ]
            lines.append(
                f"padding: {mixture['padding_unpacked']:.1%} with each document padded to its "
                f"longest, {mixture['padding_packed']:.1%} packed to {plan['context_length']}"
            )
    phases = [
        [
            phase["phase"],
            *(_count(phase[name]) for name in ("trainable", "frozen")),
            str(phase["steps"]),
            *(_count(phase[name]) for name in ("tokens", "documents")),
            *(f"{phase[name]:.2f} h" for name in ("hours", "hours_unpacked")),
        ]
        for phase in plan["phases"]
    ]
    head = ["phase", "trainable", "frozen", "steps", "tokens", "documents", "time", "unpacked"]
    lines += ["", *table(head, phases, figures=range(1, len(head)))]
    limit = f" of {devices['memory_gb']:g}" if devices["memory_gb"] else ""
    parts = ("weights", "gradients", "optimizer", "activations", "framework", "device")
    rows = [
        [
            phase["phase"],
            f"{one['zero_stage']}{'*' if one['chosen'] else ''}",
            *(f"{one[f'{part}_gb']:.1f}" for part in parts),
            "too much"
            if 0 < (devices["memory_gb"] or 0) < one["device_gb"]
            else f"{one['host_gb']:.1f} on host" * bool(one["host_gb"]),
        ]
        for phase in plan["phases"]
        for one in phase["memory_per_device"]
    ]
    head = ["phase", "ZeRO", *parts[:4], "other", "total", ""]
    lines += [
        "",
        f"GB on each device{limit}; * is the recipe's ZeRO stage",
        *table(head, rows, figures=range(2, 8)),
    ]
    lines.append(
        f"While loading, each process holds {plan['host_gb_per_rank_while_loading']:.1f} GB in the "
        "host's memory (fp32)."
    )
    lines += [
        "",
        f"In all {plan['hours']:.2f} h on {where}: {plan['device_hours']:,.1f} device hours.",
    ]
    if published := plan.get("published"):
        lines.append(
            f"Published: {published['run']}, {published['devices']} x {published['hours']} h: "
            f"{published['device_hours']:,} device hours."
        )
    return "\n".join(lines)


def _count(number: float) -> str:
    scale, unit = next(
        (pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= pair[0]), (1.0, "")
    )
    return f"{number / scale:.2f} {unit}".rstrip()
