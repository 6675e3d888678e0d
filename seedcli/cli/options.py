"""Options that commands share, each defined once. No heavy import here: these types are read
when the parser is built.

`--json`, `--quiet` and `--debug` are given to every command by `cli/main.py`; a command names one
in its signature only to read its value (`console.results_are_json` is usually what it wants).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedcli.cli import completion
from seedcli.console import console
from seedcli.errors import UsageError

if TYPE_CHECKING:
    from seedcli.engine.engines import EngineChoice

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def _set_json(value: bool) -> bool:
    console.configure(json=value)
    return value


def _set_quiet(value: bool) -> bool:
    console.configure(quiet=value)
    return value


def _set_debug(value: bool) -> bool:
    console.configure(debug=value)
    return value


JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="JSON Lines on stdout, also on a terminal.",
        callback=_set_json,
        show_default=False,
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Nothing on stderr but errors.",
        callback=_set_quiet,
        show_default=False,
    ),
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an error.", callback=_set_debug, show_default=False
    ),
]

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=completion.models,
        help="A preset (seed-nano, seed-2, ...), a folder with weights, or a hub id.",
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")
]
DtypeOption = Annotated[
    Dtype, typer.Option("--dtype", help="Number format of the weights; auto is float32 on CPU.")
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", "-b", min=1, help="Images in one pass through the model.")
]
NprocOption = Annotated[
    str,
    typer.Option(
        "--nproc",
        metavar="N",
        help="Processes of this machine with a model each; auto takes one for each GPU, else one "
        "for every two cores.",
    ),
]
RayOption = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Compute on a Ray cluster: the one that --ray-address or RAY_ADDRESS names, else one "
        "on this machine.",
    ),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address", metavar="HOST:PORT", help="Head of a running Ray cluster, or auto."
    ),
]
ActorsOption = Annotated[
    int | None,
    typer.Option(
        "--actors",
        min=1,
        help="Workers on the Ray cluster; by default one for each GPU, else for every 4 cores.",
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="I/N",
        help="Only every N-th part of the work, from the I-th on: "
        "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT in an array job.",
    ),
]


def engine_choice(
    nproc: str,
    ray: bool,
    ray_address: str | None,
    actors: int | None,
    part: str | None = None,
) -> "EngineChoice":
    """The engine that these options name.

    Raises:
        UsageError: Values that cannot be meant.
    """
    from seedcli.engine.engines import EngineChoice, Slice

    if nproc != "auto" and not (nproc.isdecimal() and int(nproc) > 0):
        raise UsageError(f"--nproc {nproc}: expected a number of processes, or auto")
    return EngineChoice(
        nproc="auto" if nproc == "auto" else int(nproc),
        ray=ray,
        ray_address=ray_address,
        actors=actors,
        part=Slice.parse(part) if part is not None else Slice(),
    )


SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Stop after this many inputs.")
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that read and decode inputs; 0 reads in the main process.",
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="PATH", help="Where to write.")
]

DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be read, written and downloaded; do nothing."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue where an interrupted run stopped.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Go on where a check would refuse.")]

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A TOML file, or the name of a shipped recipe (seed recipes ls).",
        autocompletion=completion.recipes,
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        autocompletion=completion.recipe_keys,
        help="Values that replace the recipe's, e.g. optimization.learning_rate=1e-4.",
    ),
]

RunFolderOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Run folder; default runs/RECIPE."),
]
NumProcessesOption = Annotated[
    int,
    typer.Option(
        "--nproc", min=1, help="Processes to start on this machine; under torchrun leave it out."
    ),
]
NumNodesOption = Annotated[
    int, typer.Option("--nnodes", min=1, help="Machines; run the same command on each.")
]
NodeRankOption = Annotated[
    int, typer.Option("--node-rank", min=0, help="Which of the machines this is.")
]
RendezvousOption = Annotated[
    str | None,
    typer.Option(
        "--rdzv", metavar="HOST:PORT", help="Address of machine 0; for more than one machine."
    ),
]
