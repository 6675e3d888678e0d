"""`seed eval`: the paper's measurements, one subcommand and one file each."""

from collections.abc import Callable

import typer

from seedcli.cli.eval_ablation import ablation
from seedcli.cli.eval_caption import caption
from seedcli.cli.eval_clip_similarity import clip_similarity
from seedcli.cli.eval_paper import paper
from seedcli.cli.eval_retrieval import retrieval
from seedcli.cli.eval_vqa import vqa

# In the order of the help.
BENCHMARKS: dict[str, Callable[..., None]] = {
    "retrieval": retrieval,
    "clip-similarity": clip_similarity,
    "ablation": ablation,
    "caption": caption,
    "vqa": vqa,
    "paper": paper,
}


def build_app() -> typer.Typer:
    """The group `seed eval`."""
    app = typer.Typer(help=f"Measure a model: {', '.join(BENCHMARKS)}.")
    for name, command in BENCHMARKS.items():
        app.command(name)(command)
    return app


app = build_app()
