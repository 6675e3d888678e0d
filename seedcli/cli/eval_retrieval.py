"""`seed eval retrieval`: captions find pictures, and pictures captions."""

from typing import Any

from seedcli.benchmarks.metric_words import metric_words
from seedcli.cli.eval_tables import give
from seedcli.cli.terminal import table
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
    from seedcli.workflows.evaluate.run import measure

    result = measure(request, reporter=console)
    give(result, _show_retrieval)


def _show_retrieval(result: dict[str, Any]) -> str:
    columns = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean")

    def row(name: str, images: object, metrics: dict[str, float]) -> list[str]:
        return [name, str(images), *(f"{metrics[column]:.1f}" for column in columns)]

    low, high = (
        {name: ends[side] for name, ends in result["intervals"].items()} for side in (0, 1)
    )
    queries = result.get("by_query", ())
    rows = [
        row("all", result["num_images"], result["metrics"]),
        row("95 % interval, from", "", low),
        row("95 % interval, to", "", high),
        row("chance", "", result["chance"]),
        *(
            row(name, part["num_images"], part["metrics"])
            for name, part in result.get("subsets", {}).items()
        ),
        *(row(f"query {part['query']}", "", part["metrics"]) for part in queries),
        *(
            row(f"mean of queries 0-{part['query']}", "", part["prefix_metrics"])
            for part in queries
        ),
    ]
    head = ["in percent", "images", *map(metric_words, columns)]
    lines = [
        f"{result['dataset']} {result['split']}, {result['num_images']:,} images, "
        f"{result['num_captions']:,} captions; {result['model']} ({result['fingerprint']}), "
        f"{result['feature']}, query {result['query']}",
        *table(head, rows, figures=range(1, len(head))),
    ]
    lines += [f"{name:<34}{value:.3f}" for name, value in result.get("query_variance", {}).items()]
    lines.append(f"ranks in {result['folder']}")
    if result["published_split"] is False:
        lines.append("not the published split: do not compare with published numbers")
    return "\n".join(lines)
