"""`seed eval retrieval`: captions find pictures, and pictures captions."""

from typing import Annotated, Any, Literal

import typer

from seedcli.cli.eval_options import (
    AllowSplitOption,
    DataRootOption,
    DatasetOption,
    ImageFolderOption,
    SamplesFolderOption,
    SplitOption,
)
from seedcli.cli.options import BatchSizeOption, DeviceOption, DtypeOption, LimitOption, ModelOption
from seedcli.console import console


def retrieval(
    dataset: DatasetOption = "emoji",
    split: SplitOption = None,
    model: ModelOption = "seed-nano",
    feature: Annotated[
        Literal["causal", "codes"],
        typer.Option("--feature", help="Causal embeddings, or those reconstructed from the codes."),
    ] = "causal",
    query: Annotated[
        int | None,
        typer.Option(
            "--query",
            min=0,
            help="Use this query's feature; default: the last, which sees all the others.",
            show_default=False,
        ),
    ] = None,
    by_query: Annotated[
        bool,
        typer.Option(
            "--by-query", help="Also score every query, and say how much the queries differ."
        ),
    ] = False,
    images: ImageFolderOption = None,
    data_root: DataRootOption = None,
    allow_split: AllowSplitOption = False,
    batch_size: BatchSizeOption = 64,
    limit: LimitOption = None,
    output: SamplesFolderOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor keep embeddings on disk.")
    ] = False,
) -> None:
    """Recall of pictures by captions and of captions by pictures, at 1, 5 and 10.

    \b
    Example:
      seed eval retrieval
      seed eval retrieval --dataset emoji --split vendor --feature codes
      seed eval retrieval --dataset coco --data-root ~/data --model seed-2 -o coco-causal
    """
    from seedcli.workflows.evaluate.retrieval import run_retrieval

    result = run_retrieval(
        dataset,
        split=split,
        model=model,
        feature=feature,
        query=query,
        by_query=by_query,
        images=images,
        data_root=data_root,
        allow_split=allow_split,
        batch_size=batch_size,
        limit=limit,
        device=device,
        dtype=dtype,
        cache=not no_cache,
        output=output,
        reporter=console,
    )
    console.result(result, human=_show_retrieval)


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
