"""What Tab offers, asked as the shells ask."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app


def offered(line: str, shell: str = "bash") -> list[str]:
    """What `line` may go on with; the last word is the one that was begun."""
    words = line.split(" ")
    environment = {"_SEED_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    if shell == "bash":
        environment |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":
        environment |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = CliRunner().invoke(app, [], env=environment, prog_name="seed")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "among", "not_among"),
    [
        ("seed to", ["tokenize", "tokens"], ["chat"]),
        ("seed pretrain vic", ["vicuna7b", "vicuna13b"], ["vicuna7b-instruct"]),
        ("seed train-tokenizer nano-c", ["nano-causal-qformer", "nano-codebook"], []),
        ("seed recipes show vicuna7b-", ["vicuna7b-instruct"], []),
        (
            "seed train-tokenizer nano-codebook optimization.learn",
            ["optimization.learning_rate="],
            [],
        ),
        ("seed tokenize --model seed", ["seed-nano", "seed-2"], ["seed-llama-8b-sft"]),
        ("seed chat --model seed-ll", ["seed-llama-8b-sft"], ["seed-2"]),
        ("seed models verify seed-", ["seed-2", "seed-llama-8b-sft"], []),
        ("seed eval vqa --dataset vq", ["vqav2"], ["FILE"]),
        ("seed eval retrieval --dataset ", ["emoji", "flickr30k", "coco"], ["FILE"]),
        ("seed recipes keys code", ["codebook"], []),
        ("seed tokens build vis", ["visdial"], []),
        ("seed plan vicuna7b --gpus h100", ["h100-80g:8"], []),
    ],
)
def test_our_own_names_are_offered(line, among, not_among) -> None:
    names = offered(line)
    assert set(among) <= set(names)
    assert not set(not_among) & set(names)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_are_answered_too(shell) -> None:
    assert "vicuna13b" in "".join(offered("seed pretrain vic", shell))
