"""`seed bench tokenize` and `seed plan tokenize`, as they are typed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from seedcli.cli.bench import _show as show_rate
from seedcli.cli.main import app
from seedcli.cli.plan_tokenize import _show as show_plan
from seedcli.workflows.train.plan import parse_devices


@pytest.fixture
def seed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_a_measured_rate_is_what_a_plan_reads(seed, tiny_tokenizer_folder):
    how = ("--model", tiny_tokenizer_folder, "--device", "cpu", "--workers", 0, "--batch-size", 2)
    outcome = seed("bench", "tokenize", *how, "--image-size", 64, "--seconds", 0.02, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    rate = json.loads(outcome.stdout)
    shown = show_rate(rate)
    assert "images/s" in shown and rate["kept"] in shown
    outcome = seed(
        *("plan", "tokenize", "--images", "2M", "--gpus", "cpu:4"),
        *("--model", tiny_tokenizer_folder, "--json"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    plan = json.loads(outcome.stdout)
    assert plan["rate_source"].startswith("measured here")
    shown = show_plan(plan)
    assert "2,000,000 pictures" in shown and "cores for each" in shown and "In all" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("plan", "tokenize"), "--images says how many"),
        (("plan", "tokenize", "--images", "some"), "expected a number of pictures"),
        (("plan", "tokenize", "--images", "1M", "--gpus", "abacus:2"), "'abacus' is not known"),
        (("plan", "nano-pretrain", "--images", "1M"), "nano-pretrain is a recipe"),
    ],
)
def test_what_cannot_be_planned(seed, arguments, says):
    outcome = seed(*arguments)
    assert outcome.exit_code == 2
    assert says in outcome.stderr


def test_a_kind_of_device_may_be_named_short():
    assert parse_devices("h100:64")[::2] == ("h100-80g", 64)
    assert parse_devices("A100")[::2] == ("a100-40g", 1)
    assert parse_devices("a100-80g:8")[::2] == ("a100-80g", 8)
