"""The layout of the house: who may import whom, and which file owns which heavy package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter

from tests.contracts.source_tree import Import, files, imports, tree_of

# A file imports from its own floor or from below.
FLOORS = {
    "recipe": 0,
    "models": 1,
    "data": 2,
    "engine": 3,
    "training": 3,
    "benchmarks": 3,
    "workflows": 4,
    "cli": 5,
}
BASE_FILES = {
    "__init__.py",
    "console.py",
    "errors.py",
    "files.py",
    "journal.py",
    "options.py",
    "progress.py",
    "storage.py",
}
TOP_FILES = {"__main__.py"}
# Its types-only imports say where the public names live; below, `seedcli` itself is its version.
PUBLIC_NAMES = "__init__.py"

# Package -> the files (or rooms, with a slash) that may import it; a new owner is a decision, made
# here. Imports for types only are free.
OWNERS = {
    "accelerate": {"training/"},
    "av": {"data/images/video.py"},
    "datasets": {"data/"},
    # elsewhere it is reached through Accelerate only
    "deepspeed": {"training/checkpoints.py", "training/accelerator.py", "training/optimizer.py"},
    "diffusers": {
        "models/drawing/published_shapes.py",
        "models/drawing/unclip.py",
        "models/drawing/unclip_parts.py",
    },
    "fastapi": {"workflows/serve/"},
    "filelock": {"engine/hold.py"},
    "gradio": {"workflows/chat/web/page.py", "workflows/chat/web/server.py"},
    # weights; data sets
    "huggingface_hub": {
        "models/language/seed_llama.py",  # how weights are divided into files
        "models/weights/download.py",
        "models/weights/survey.py",
        "models/weights/transfer.py",
        "benchmarks/retrieval_sets.py",
    },
    "matplotlib": {
        "training/run_folder.py",
        "workflows/evaluate/ablation/plots.py",
        "workflows/evaluate/scorecard_page.py",
    },
    "open_clip": {"models/drawing/judge.py"},
    "peft": {"models/language/lora.py"},
    "prometheus_client": {"workflows/serve/metrics.py"},
    "pyarrow": {"data/"},
    "pycocoevalcap": {"benchmarks/caption.py"},
    "pycocotools": {"data/published_sets/records.py"},
    "pydantic": {"recipe/", "workflows/serve/"},
    "ray": {"engine/ray_cluster.py"},
    "rich": {"console.py", "progress.py"},
    "safetensors": {"models/", "training/"},
    "sentencepiece": {"models/language/text_tokenizer.py"},
    "snowballstemmer": {"benchmarks/vqa.py"},
    "tokenizers": {
        "models/visual/captions.py",
        "models/drawing/target.py",
        "models/language/text_tokenizer.py",
        "training/initialize.py",
    },
    "tomlkit": {"recipe/read.py"},
    "transformers": {
        "models/drawing/published_shapes.py",
        "models/drawing/judge.py",
        "models/drawing/target.py",
        "models/language/text_tokenizer.py",
        "models/drawing/unclip_parts.py",
        "models/language/answer.py",
        "models/language/choice.py",
        "models/language/image_grammar.py",
        "models/language/seed_llama.py",
        "models/language/generate.py",
        "models/language/load.py",
        "models/language/token_loop.py",
        "models/quiet.py",
        "training/accelerator.py",
        "training/stages/picture_batches.py",
        "training/stages/target.py",
    },
    "typer": {"cli/"},
    "upath": {"storage.py"},
    "uvicorn": {"workflows/serve/server.py"},
}

FORBIDDEN = {
    "click": "Typer carries its own copy, and errors of the other one escape it",
    "requests": "downloads are huggingface_hub's",
}


def floor(file: str) -> int:
    room, _, rest = file.partition("/")
    if not rest:
        return 6 if file in TOP_FILES else 0
    return FLOORS[room]


def file_of(target: str, names: tuple[str, ...]) -> list[str]:
    """Files of ours that an import reaches: the module itself, or the modules
    among the imported names.
    """
    path = target.removeprefix("seedcli").lstrip(".").replace(".", "/")
    known = files()
    if f"{path}.py" in known:
        return [f"{path}.py"]
    inside = [f"{path}/{name}.py".lstrip("/") for name in names]
    return [file for file in inside if file in known] or [f"{path}/__init__.py".lstrip("/")]


def ours() -> list[tuple[Import, str]]:
    return [
        (entry, file)
        for entry in imports()
        if entry.top == "seedcli"
        for file in file_of(entry.target, entry.names)
    ]


def test_every_file_has_its_room() -> None:
    for file in files():
        assert "/" not in file or file.split("/")[0] in FLOORS, f"seedcli/{file} is in no room"
        assert "/" in file or file in BASE_FILES | TOP_FILES, (
            f"seedcli/{file}: the base holds {sorted(BASE_FILES)}"
        )
        assert file.rpartition("/")[2] not in {"utils.py", "common.py", "helpers.py"}, file


def test_imports_go_down() -> None:
    upward = [
        str(entry)
        for entry, file in ours()
        if floor(file) > floor(entry.file) and entry.file != PUBLIC_NAMES
    ]
    assert upward == []


def test_no_file_imports_in_a_circle() -> None:
    """Imports inside functions count: they hide a circle, and do not end it."""
    reached: dict[str, set[str]] = defaultdict(set)
    for entry, file in ours():
        if not entry.types_only and file != entry.file:
            reached[entry.file].add(file)
    # raises CycleError, which names the circle
    order = list(TopologicalSorter(reached).static_order())
    assert set(reached) <= set(order)


def test_heavy_packages_stay_with_their_owners() -> None:
    strangers = [
        str(entry)
        for entry in imports()
        if entry.top in OWNERS
        and not entry.types_only
        and not any(
            entry.file == owner or (owner.endswith("/") and entry.file.startswith(owner))
            for owner in OWNERS[entry.top]
        )
    ]
    assert strangers == []


def test_each_owner_still_imports_its_package() -> None:
    users = defaultdict(set)
    for entry in imports():
        users[entry.top].add(entry.file)
    unused = [
        (package, owner)
        for package, owners in OWNERS.items()
        for owner in owners
        if not any(file.startswith(owner) for file in users[package])
    ]
    assert unused == []


def test_forbidden_packages() -> None:
    assert [
        f"{entry}: {FORBIDDEN[entry.top]}" for entry in imports() if entry.top in FORBIDDEN
    ] == []


def test_only_commands_import_the_console() -> None:
    """Workflows and everything below get a `Reporter`."""
    strangers = [
        str(entry)
        for entry in imports()
        if entry.target == "seedcli.console" and "console" in entry.names and floor(entry.file) < 5
    ]
    assert strangers == []


def test_models_never_see_a_recipe() -> None:
    """But for the names of the shipped ones, which an error may say."""
    files = ((entry, file) for entry, file in ours() if file != "recipe/files.py")
    recipes = ((entry, file) for entry, file in files if file.startswith("recipe/"))
    assert [str(entry) for entry, _ in recipes if floor(entry.file) == 1] == []


def test_below_workflows_nothing_takes_a_whole_recipe() -> None:
    """Parts get their own section or plain values; `training/run_folder.py` writes the
    recipe into the run folder.
    """
    whole = [
        f"{entry} ({name})"
        for entry, file in ours()
        for name in entry.names
        if file.startswith("recipe/")
        and name.endswith("Recipe")
        and floor(entry.file) < 4
        and not entry.file.startswith("recipe/")
        and entry.file != "training/run_folder.py"
    ]
    assert whole == []


def test_nothing_is_called_at_module_level_for_its_effect() -> None:
    """No download, no log set-up, no device choice at import: module level holds
    definitions, and no bare calls.
    """
    found = []
    for file in files():
        for node in tree_of(file).body:
            if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
                found.append(f"seedcli/{file}:{node.lineno}")
            if isinstance(node, (ast.For, ast.While, ast.With, ast.Delete)):
                found.append(f"seedcli/{file}:{node.lineno}")
            targets = node.targets if isinstance(node, ast.Assign) else []
            found += [
                f"seedcli/{file}:{node.lineno}"
                for target in targets
                if isinstance(target, (ast.Attribute, ast.Subscript))
            ]
    assert found == []


def test_posix_modules_may_be_missing() -> None:
    """Where Python has no `fcntl` (Windows), every file of the package can be imported all the
    same.
    """
    posix = {"fcntl", "grp", "pwd", "readline", "resource", "termios", "tty"}
    unguarded = [
        f"seedcli/{file}:{statement.lineno}"
        for file in files()
        for statement in outside_of_import_guards(tree_of(file))
        if isinstance(statement, ast.Import) and {each.name for each in statement.names} & posix
    ]
    assert unguarded == []


def outside_of_import_guards(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those in a `try` or `with` that expects ImportError."""
    guards = getattr(node, "handlers", []) + getattr(node, "items", [])
    if any("ImportError" in ast.unparse(guard) for guard in guards):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from outside_of_import_guards(child)


def test_no_function_takes_fifteen_parameters() -> None:
    """What needs so many is a request: a dataclass with a name, made once."""
    many = [
        f"seedcli/{file}:{node.lineno} {node.name}"
        for file in files()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) >= 15
    ]
    assert many == []
