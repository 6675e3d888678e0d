"""`seed bench`: rates of this machine."""

from typing import Any

import typer

from seedcli.console import console
from seedcli.workflows.bench.request import BenchRequest

app = typer.Typer(help="Measure this machine: tokenize.", no_args_is_help=True)


@app.command()
def tokenize(request: BenchRequest) -> None:
    """How many pictures a second this machine decodes and encodes, alone and together; seed plan
    tokenize reads what is found.

    \b
    Example:
      seed bench tokenize
      seed bench tokenize photos/ --model seed-2 --dtype bfloat16 --batch-size 128
      seed bench tokenize --model seed-2 --random-weights
    """
    from seedcli.workflows.bench.tokenize import run

    console.result(run(request, reporter=console), human=_show)


def _show(rate: dict[str, Any]) -> str:
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in rate["shares"].items())
    own = "random weights" if rate["weights"] == "random" else rate["weights"]
    return "\n".join(
        [
            f"{rate['model']} ({own}) in {rate['dtype']} on {rate['device']}, batches of "
            f"{rate['batch_size']}, pictures of {rate['image_bytes'] / 1000:.1f} kB",
            f"{'encode, the device alone':<28}{rate['encode_images_per_s']:>10,.1f} images/s",
            f"{'decode, one core alone':<28}{rate['decode_images_per_s_per_core']:>10,.1f} "
            "images/s",
            f"{'together':<28}{rate['images_per_s']:>10,.1f} images/s with {rate['workers']} "
            "decoding processes",
            f"time of the worker: {shares}",
            f"a row of a shard: {rate['row_bytes']:.0f} bytes; kept in {rate['kept']}",
        ]
    )
