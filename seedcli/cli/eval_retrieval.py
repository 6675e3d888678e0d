"""`seed eval retrieval`: captions find pictures, and pictures captions."""

from typing import Any

from seedcli.cli.eval_tables import give
from seedcli.console import console
from seedcli.workflows.evaluate.requests import RetrievalRequest


def retrieval(request: RetrievalRequest) -> None:
    """Recall of pictures by captions and of captions by pictures, at 1, 5 and 10.

    \b
    Example:
      seed eval retrieval
      seed eval retrieval --dataset emoji --split vendor --feature codes
      seed eval retrieval --dataset coco --data-root ~/data --model seed-2 -o coco-causal
    """
    from seedcli.workflows.evaluate.retrieval import run_retrieval

    result = run_retrieval(request, reporter=console)
    give(result, _show_retrieval)


def _show_retrieval(result: dict[str, Any]) -> str:
    columns = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean")

    def line(name: str, images: object, metrics: dict[str, float]) -> str:
        return f"{name:<22}{images!s:>7}" + "".join(
            f"{metrics[column]:>9.1f}" for column in columns
        )

    head = (
        f"{result['dataset']} {result['split']}, {result['num_images']:,} images, "
        f"{result['num_captions']:,} captions"
    )
    lines = [
        (
            f"{head}; {result['model']} ({result['fingerprint']}), {result['feature']}, query "
            f"{result['query']}"
        )
    ]
    lines.append(
        f"{'recall in percent':<22}{'images':>7}" + "".join(f"{column:>9}" for column in columns)
    )
    lines.append(line("all", result["num_images"], result["metrics"]))
    low, high = (
        {name: ends[side] for name, ends in result["intervals"].items()} for side in (0, 1)
    )
    lines += [
        line("95 % interval, from", "", low),
        line("95 % interval, to", "", high),
        line("chance", "", result["chance"]),
    ]
    lines += [
        line(name, part["num_images"], part["metrics"])
        for name, part in result.get("subsets", {}).items()
    ]
    lines += [
        line(f"query {part['query']}", "", part["metrics"]) for part in result.get("by_query", ())
    ]
    lines += [
        line(f"mean of queries 0-{part['query']}", "", part["prefix_metrics"])
        for part in result.get("by_query", ())
    ]
    lines += [f"{name:<34}{value:.3f}" for name, value in result.get("query_variance", {}).items()]
    lines.append(f"ranks in {result['folder']}")
    if result["published_split"] is False:
        lines.append("not the published split: do not compare with published numbers")
    return "\n".join(lines)
