"""Recipes: merging, overrides, origins, and every fault at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from seedcli.errors import RecipeError
from seedcli.recipe import stages
from seedcli.recipe.files import copy_text, find_recipe, shipped_recipes
from seedcli.recipe.layers import dotted
from seedcli.recipe.read import dump_resolved, leaves, load_recipe
from seedcli.recipe.sections import Recipe, Strict, comfort, setting


class OptimizerSection(Strict):
    learning_rate: float = setting("peak, per step", gt=0)
    betas: tuple[float, float] = setting("decay of the moments")


class FolderSource(Strict):
    kind: Literal["folder"] = setting("what it is")
    path: Path = setting("where it lies")


class HubSource(Strict):
    kind: Literal["hub"] = setting("what it is")
    repo: str = setting("its id")
    weight: float = setting("share of samples")


class BakeRecipe(Recipe):
    command: ClassVar[str] = "bake"
    stage: Literal["bread"] = setting("what is baked")
    seed: int = setting("of everything random")
    optimizer: OptimizerSection
    sources: list[Annotated[FolderSource | HubSource, Field(discriminator="kind")]] = setting(
        "what to read"
    )
    log_every_steps: int = comfort(10, "steps between log lines")
    note: str | None = comfort(None, "free text")


BASE = """\
# the base
stage = "bread"
seed = 1

[optimizer]
learning_rate = 1e-3
betas = [
  0.9,
  0.999,
]

[[sources]]
kind = "folder"
path = "a"

[[sources]]
kind = "hub"
repo = "x/y"
weight = 0.5
"""

CHILD = """\
base = "base.toml"
seed = 2
optimizer.betas = [0.9, 0.95]
"""


@pytest.fixture(autouse=True)
def bread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stages.STAGES, "bread", BakeRecipe)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "child.toml").write_text(CHILD)
    return tmp_path


def values(recipe: Recipe) -> dict[str, object]:
    """Without the origins, which differ from file to file."""
    return recipe.model_dump()


def faults_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [
        line.strip().replace(f"{path.parent.as_posix()}/", "")
        for line in str(caught.value).splitlines()
    ]


def test_values_come_from_base_recipe_command_line_and_default(folder: Path) -> None:
    recipe = load_recipe(folder / "child.toml", ["sources.1.weight=0.25", "note=hello"])
    assert isinstance(recipe, BakeRecipe)
    assert recipe.seed == 2
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.optimizer.betas == (0.9, 0.95)
    assert recipe.sources[1].weight == 0.25
    assert recipe.note == "hello"
    assert recipe.log_every_steps == 10
    assert recipe.name == "child"


def test_every_value_has_its_origin(folder: Path) -> None:
    origins = load_recipe(folder / "child.toml", ["sources.1.weight=0.25"]).origins
    base, child = (folder / "base.toml").as_posix(), (folder / "child.toml").as_posix()
    assert origins == {
        "stage": f"{base}:2",
        "seed": f"{child}:2",
        "optimizer.learning_rate": f"{base}:6",
        "optimizer.betas": f"{child}:3",
        "sources.0.kind": f"{base}:13",
        "sources.0.path": f"{base}:14",
        "sources.1.kind": f"{base}:17",
        "sources.1.repo": f"{base}:18",
        "sources.1.weight": "command line",
        "log_every_steps": "default",
        "note": "default",
    }


def test_every_fault_is_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    bad = folder / "bad.toml"
    bad.write_text(
        'stage = "bread"\nsed = 1\nlearning_rate = 1\n[optimizer]\nlearning_rate = "fast"\n'
        "betas = [0.9]\n"
        '[[sources]]\nkind = "hub"\nrepo = 3\nwait = 1\n'
    )
    assert faults_of(bad) == [
        "bad.toml: 8 faults",
        "bad.toml: seed: missing (of everything random)",
        "bad.toml:2: sed: unknown key; did you mean seed?",
        (
            "bad.toml:3: learning_rate: unknown key; 'learning_rate' belongs in "
            "'optimizer.learning_rate'"
        ),
        "bad.toml:5: optimizer.learning_rate: should be a valid number, found 'fast'",
        "bad.toml:6: optimizer.betas.1: missing",
        "bad.toml:7: sources.0.weight: missing (share of samples)",
        "bad.toml:9: sources.0.repo: should be a valid string, found 3",
        "bad.toml:10: sources.0.wait: unknown key; did you mean weight?",
    ]


def test_a_fault_in_the_base_names_the_base(folder: Path) -> None:
    (folder / "base.toml").write_text(BASE.replace("seed = 1", "seed = 1\nloge_every_steps = 3"))
    assert "base.toml:4: loge_every_steps: unknown key; did you mean log_every_steps?" in faults_of(
        folder / "child.toml"
    )


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("seed=1.5", "command line: seed: should be a valid integer, found 1.5"),
        ("seed=true", "command line: seed: should be a valid integer, found True"),
        (
            "optimizer.learning_rate=0",
            "command line: optimizer.learning_rate: should be greater than 0, found 0",
        ),
        (
            "optimizer.learning_rate=nan",
            "command line: optimizer.learning_rate: should be a finite number, found nan",
        ),
        (
            "optimiser.learning_rate=1",
            "command line: optimiser: unknown key; did you mean optimizer?",
        ),
        (
            "sources.7.weight=1",
            "command line: 'sources.7.weight=1': sources is a list of 2, expected 0..1, found '7'",
        ),
        ("seed.x=1", "command line: 'seed.x=1': seed is 2, not a table"),
        ("seed", "command line: 'seed': expected key=value"),
        (
            "optimizer.betas=[0.9",
            "command line: '[0.9': not a TOML value (a list looks like [1, 2])",
        ),
    ],
)
def test_wrong_overrides(folder: Path, override: str, fault: str) -> None:
    assert fault in faults_of(folder / "child.toml", override)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ('"quoted"', "quoted"),
        ("a b", "a b"),
        ("x/y.z", "x/y.z"),
        ('"7"', "7"),
        ("2nd", "2nd"),
    ],
)
def test_overrides_take_toml_values_and_bare_words(folder: Path, value: str, expected: str) -> None:
    assert load_recipe(folder / "child.toml", [f"note={value}"]).note == expected


def test_override_of_one_list_element_is_the_lists_origin(folder: Path) -> None:
    recipe = load_recipe(folder / "child.toml", ["optimizer.betas.1=0.5"])
    assert recipe.optimizer.betas == (0.9, 0.5)
    assert recipe.origins["optimizer.betas"] == "command line"


def test_resolved_recipe_loads_to_the_same_values(folder: Path) -> None:
    recipe = load_recipe(folder / "child.toml", ["note='tea'"])
    for with_origins in (False, True):
        (folder / "resolved.toml").write_text(dump_resolved(recipe, origins=with_origins))
        assert values(load_recipe(folder / "resolved.toml")) == values(recipe)
    assert "learning_rate = 0.001 # " in dump_resolved(recipe, origins=True)
    assert "base" not in tomllib.loads(dump_resolved(recipe))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    rate=st.floats(1e-300, 1e300),
    note=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_resolved_recipe_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rate: float, note: str
) -> None:
    optimizer = OptimizerSection(learning_rate=rate, betas=(0.9, 0.99))
    recipe = BakeRecipe(
        stage="bread",
        seed=seed,
        optimizer=optimizer,
        sources=[HubSource(kind="hub", repo="a", weight=1.0)],
        note=note,
    )
    path = tmp_path_factory.mktemp("recipe") / "resolved.toml"
    path.write_text(dump_resolved(recipe), encoding="utf-8")
    assert values(load_recipe(path)) == values(recipe)


def test_base_chain_and_circle(folder: Path) -> None:
    (folder / "grandchild.toml").write_text('base = "child.toml"\nnote = "third"\n')
    recipe = load_recipe(folder / "grandchild.toml")
    assert (recipe.seed, recipe.note) == (2, "third")
    (folder / "base.toml").write_text('base = "grandchild.toml"\n')
    with pytest.raises(RecipeError, match="leads back to this file"):
        load_recipe(folder / "child.toml")


def test_stage_decides_and_is_checked(folder: Path) -> None:
    wrong = folder / "wrong.toml"
    wrong.write_text("seed = 1\n")
    with pytest.raises(RecipeError, match="stage: missing"):
        load_recipe(wrong)
    wrong.write_text('stage = "breed"\n')
    with pytest.raises(
        RecipeError, match=r"wrong.toml:1: stage: found 'breed'; did you mean bread"
    ):
        load_recipe(wrong, command="bake")
    with pytest.raises(RecipeError, match="belongs to `seed bake`"):
        load_recipe(folder / "base.toml", command="train-tokenizer")
    assert load_recipe(folder / "base.toml", command="bake").stage == "bread"


def test_text_that_is_no_toml_and_files_that_are_not_there(folder: Path) -> None:
    (folder / "broken.toml").write_text("seed = \n")
    with pytest.raises(RecipeError, match=r"broken.toml: not valid TOML: .*line 1"):
        load_recipe(folder / "broken.toml")
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(folder / "binary.toml")
    with pytest.raises(RecipeError, match="no recipe"):
        load_recipe(folder / "absent.toml")


def test_shipped_recipes_are_found_by_every_spelling() -> None:
    for name in shipped_recipes():
        assert (
            find_recipe(name)
            == find_recipe(f"{name}.toml")
            == find_recipe(f"recipes/{name}.toml").resolve()
        )


def test_a_misspelt_name_gets_a_suggestion() -> None:
    name = shipped_recipes()[0]
    with pytest.raises(RecipeError, match=f"did you mean .*{name}"):
        find_recipe(name[:-1])


def test_a_copy_still_finds_its_base(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mine.toml"
    elsewhere.write_text(copy_text(folder / "child.toml", elsewhere))
    assert values(load_recipe(elsewhere)) == values(load_recipe(folder / "child.toml"))
    assert copy_text(folder / "child.toml", folder / "mine.toml") == CHILD


def test_sections_are_frozen_and_strict() -> None:
    section = OptimizerSection(learning_rate=1.0, betas=(0.9, 0.99))
    with pytest.raises(ValueError, match="frozen"):
        section.learning_rate = 2.0
    with pytest.raises(ValueError, match="valid number"):
        OptimizerSection(learning_rate="1.0", betas=(0.9, 0.99))


def test_leaves_walk_tables_and_lists_of_tables() -> None:
    data = {"a": 1, "b": {"c": [1, 2], "d": [{"e": 3}]}, "f": []}
    assert [(path, value) for path, _, value in leaves(data)] == [
        ("a", 1),
        ("b.c", [1, 2]),
        ("b.d.0.e", 3),
        ("f", []),
    ]
    assert dotted(("b", "d", 0, "e")) == "b.d.0.e"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimization.learning_rate=1e38", "less than or equal to 100"),
        ("optimization.min_learning_rate=1e38", "less than or equal to 100"),
        ("optimization.betas=[0.9, 1]", "optimization.betas.1"),
        ("optimization.betas=[2.0, 0.99]", "optimization.betas.0"),
        ("optimization.betas.0=-0.1", "optimization.betas.0"),
        ("seed=" + "9" * 40, "integer of 40 digits"),
        ("seed=" + "9" * 5000, "seed"),
        ("optimization.steps=" + "[" * 5000, "not a TOML value"),
        (".".join("a" * 5000) + "=1", "a key of 5000 parts"),
    ],
)
def test_values_that_end_in_nothing_are_refused(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("seed2-codebook", [override])
    assert said in caught.value.message


@pytest.mark.parametrize("text", ["seed = " + "9" * 5000, "a = " + "[" * 50_000, "a = '\ud800'"])
def test_a_file_that_is_no_recipe(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (load_recipe, lambda path: copy_text(path, tmp_path / "b.toml")):
        with pytest.raises(RecipeError, match="not valid TOML|cannot be read"):
            read(path)
