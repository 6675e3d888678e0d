"""`seed.json`: what is written comes back, and what is damaged is refused with a message."""

from __future__ import annotations

import json

import pytest

from seedcli.errors import DataError
from seedcli.models.weights.llm_description import LlmFacts, read_llm_facts, write_llm_facts

FACTS = LlmFacts(
    name="tiny",
    visual_tokenizer="seed-nano",
    visual_fingerprint="0123456789abcdef",
    num_queries=32,
    num_codes=512,
    template="vicuna",
    trained={"steps": 3},
    sampling={"temperature": 0.7},
)


def test_what_is_written_is_read(tmp_path) -> None:
    write_llm_facts(tmp_path, FACTS)
    assert read_llm_facts(tmp_path) == FACTS
    assert [path.name for path in tmp_path.iterdir()] == ["seed.json"]


def test_keys_of_later_versions_are_ignored(tmp_path) -> None:
    write_llm_facts(tmp_path, FACTS)
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mood": "good"}))
    assert read_llm_facts(tmp_path) == FACTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"num_codes": "512"}, "num_codes is '512', expected int"),
        ({"template": "alpaca"}, "template is 'alpaca', expected one of vicuna"),
        ({"name": None}, "name is None"),
        ({"words_first": "yes"}, "words_first is 'yes', expected bool"),
    ],
)
def test_damaged_descriptions_are_refused(tmp_path, change, message) -> None:
    write_llm_facts(tmp_path, FACTS)
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        read_llm_facts(tmp_path)


def test_missing_and_unreadable_descriptions(tmp_path) -> None:
    with pytest.raises(DataError, match="has no seed.json") as caught:
        read_llm_facts(tmp_path)
    assert "--tokenizer" in (caught.value.remedy or "")
    (tmp_path / "seed.json").write_text("[]")
    with pytest.raises(DataError, match="not readable"):
        read_llm_facts(tmp_path)
    for content in ('{"format_version": 1, "name": "x"}', '{"name": "x"}'):
        (tmp_path / "seed.json").write_text(content)
        with pytest.raises(DataError, match="incomplete"):
            read_llm_facts(tmp_path)
