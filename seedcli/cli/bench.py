"""`seed bench`: rates of this machine."""

import os
from typing import Any

import typer

from seedcli.console import console
from seedcli.workflows.bench.request import BenchRequest
from seedcli.workflows.serve.load import LoadRequest, measure_load
from seedcli.workflows.serve.settings import KEY_VARIABLE

app = typer.Typer(help="Measure this machine: tokenize, serve.", no_args_is_help=True)


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
    request.check()
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


@app.command("serve")
def serve(request: LoadRequest) -> None:
    """Measure a server: words a second at many requests at once against one by one, times to the
    first word, to the last and to a picture at a rate of arrivals, memory, failures.

    \b
    Examples:
      seed bench serve
      seed bench serve --soak 5000 --leave 1000
      seed bench serve --url http://127.0.0.1:8000/v1 --rate 20
    """
    found = measure_load(request, key=os.environ.get(KEY_VARIABLE), reporter=console)
    console.result(found, human=_table)


def _table(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    one, many, rate = found["one_by_one"], found["in_flight"], found["open_loop"]
    lines = [
        f"{found['server']['model']} on {found['server']['cores']} cores",
        f"one by one        {one['tokens_per_s']:.1f} tokens/s",
        f"{many['at_once']} at once         {many['tokens_per_s']:.1f} tokens/s, "
        f"{many['ratio']:.2f} times as many",
        f"at {rate['rate_per_s']:.2f} requests/s, seconds to",
    ]
    for name, key in (
        ("first word", "first_word_s"),
        ("last word", "last_word_s"),
        ("picture", "picture_s"),
    ):
        told = "   ".join(f"{share} {value:.2f}" for share, value in rate[key].items())
        lines.append(f"  {name:<15} {told or 'none'}")
    if found["queue_p99_at_most_s"] is not None:
        lines.append(f"99 % were begun within {found['queue_p99_at_most_s']:g} s")
    memory = "   ".join(f"{name} {value:.0f}" for name, value in found["memory_mb"].items())
    lines.append(f"memory in MB      {memory}")
    left = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found["left"].items())
    lines.append(f"left              {left or 'nobody'}")
    lines.append(f"failures          {sum(found['failures'].values())}")
    return "\n".join(lines)
