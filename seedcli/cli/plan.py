"""`seed plan`: what a run would cost."""

from typing import Annotated, Any

from seedcli.console import console
from seedcli.options import Option, OverridesArgument, RecipeArgument


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = (),
    gpus: Annotated[
        str,
        Option(
            "Devices, e.g. a100-40g:64, h100-80g:8, rtx4090-24g:1, cpu:2 (cores).",
            metavar="KIND:NUMBER",
            complete="devices",
        ),
    ] = "a100-40g:8",
    utilisation: Annotated[
        float,
        Option("Share of the devices' peak that the arithmetic gets; an assumption."),
    ] = 0.4,
) -> None:
    """Parameters, memory and hours of a recipe of any training; loads no weights. Of a language
    model also memory by ZeRO stage, tokens and padding.

    \b
    Example:
      seed plan vicuna7b --gpus a100-40g:64
      seed plan vicuna7b --gpus h100-80g:8 full.optimization.steps=5000 --json
      seed plan seed2-unclip-on-codes --gpus a100-80g:8
    """
    from seedcli.recipe.read import load_recipe
    from seedcli.workflows.train.plan import run

    console.result(
        run(
            load_recipe(recipe, overrides),
            gpus=gpus,
            utilisation=utilisation,
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
            width = max(len(one["source"]) for one in mixture["sources"])
            lines += [
                f"  {one['share']:6.1%}  {one['source']:<{width}}  {one['form']:<14} "
                f"{one['mean_tokens']:5.0f} of {one['max_tokens']:<5} {one['lengths']}"
                for one in mixture["sources"]
            ]
            lines.append(
                f"  padding: {mixture['padding_unpacked']:.1%} with each document padded to its "
                f"longest, {mixture['padding_packed']:.1%} packed to {plan['context_length']}"
            )
    lines += [
        "",
        (
            f"{'phase':<6} {'trainable':>14} {'frozen':>14} {'steps':>7} {'tokens':>9} "
            f"{'documents':>10} {'hours':>9} {'unpacked':>9}"
        ),
    ]
    for phase in plan["phases"]:
        lines.append(
            f"{phase['phase']:<6} {phase['trainable']:>14,} {phase['frozen']:>14,} "
            f"{phase['steps']:>7} {_count(phase['tokens']):>9} {_count(phase['documents']):>10} "
            f"{phase['hours']:>7.2f} h {phase['hours_unpacked']:>7.2f} h"
        )
    limit = f" of {devices['memory_gb']:g}" if devices["memory_gb"] else ""
    lines += ["", f"GB on each device{limit}; * is the recipe's ZeRO stage"]
    lines.append(
        f"{'phase':<6} {'ZeRO':<6} {'weights':>8} {'gradients':>10} {'optimizer':>10} "
        f"{'activations':>12} {'other':>6} {'total':>7}"
    )
    for phase in plan["phases"]:
        for one in phase["memory_per_device"]:
            mark = "*" if one["chosen"] else ""
            away = f"  and {one['host_gb']:.1f} in the host's memory" if one["host_gb"] else ""
            full = (
                "  too much"
                if devices["memory_gb"] and one["device_gb"] > devices["memory_gb"]
                else ""
            )
            parts = zip(
                ("weights", "gradients", "optimizer", "activations", "framework", "device"),
                (8, 10, 10, 12, 6, 7),
                strict=True,
            )
            figures = " ".join(f"{one[f'{part}_gb']:>{width}.1f}" for part, width in parts)
            lines.append(
                f"{phase['phase']:<6} {str(one['zero_stage']) + mark:<6} {figures}{away}{full}"
            )
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
