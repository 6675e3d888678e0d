"""The language model of a conversation with its visual tokenizer: whether they go together, and
where their parts are.
"""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from PIL import Image

from seedcli.console import Remembering
from seedcli.errors import DataError, UsageError
from seedcli.models.language.generate import sampling_of
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.pictures import ChatPictures
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings


def test_a_visual_tokenizer_of_other_codes_is_refused_unless_the_user_names_it(
    tiny_llm_folder, tiny_model_folder, tmp_path
) -> None:
    folder = tmp_path / "llm"
    shutil.copytree(tiny_llm_folder, folder)
    facts = json.loads((folder / "seed.json").read_text())
    (folder / "seed.json").write_text(
        json.dumps(facts | {"visual_fingerprint": "feedfeedfeedfeed"})
    )
    settings = ChatSettings(model=str(folder), device="cpu")
    with pytest.raises(DataError, match="trained on codes of fingerprint feedfeedfeedfeed"):
        ChatModel(settings)
    reporter = Remembering()
    ChatModel(dataclasses.replace(settings, tokenizer=str(tiny_model_folder)), reporter=reporter)
    assert any("feedfeedfeedfeed" in text for text in reporter.told)
    with pytest.raises(DataError, match="64 code tokens|speaks images of 32 codes out of 64"):
        ChatModel(dataclasses.replace(settings, tokenizer="seed-nano"))


def test_a_model_that_was_taught_no_conversations_says_so(tiny_llm) -> None:
    facts = dataclasses.replace(tiny_llm.facts, template=None)
    untaught = type(tiny_llm)(tiny_llm.model, tiny_llm.text_tokenizer, tiny_llm.vocabulary, facts)
    with pytest.raises(UsageError, match="was not taught conversations"):
        ChatModel(ChatSettings(), llm=untaught)
    taught = ChatModel(ChatSettings(template="llama-2", draws=False), llm=untaught)
    assert SeedChat(taught).say("a dog").text is not None


def test_sampling_is_the_users_then_the_models_then_the_default(tiny_llm) -> None:
    facts = dataclasses.replace(tiny_llm.facts, sampling={"temperature": 0.3, "top_p": 0.8})
    found = sampling_of(facts, {"top_p": 0.9})
    assert (found.temperature, found.top_p, found.max_new_tokens) == (0.3, 0.9, 256)
    with pytest.raises(DataError, match="'warmth'"):
        sampling_of(dataclasses.replace(facts, sampling={"warmth": 1}), {})


def test_parts_wait_in_memory_and_work_on_the_device(tiny_llm, picture, tmp_path) -> None:
    reporter = Remembering()
    pictures = ChatPictures(
        tiny_llm.facts,
        PictureSettings(device="cpu", offload=True, output=tmp_path),
        chosen=False,
        reporter=reporter,
    )
    assert any("computes on the CPU" in text for text in reporter.told)
    codes = pictures.read(picture)
    [drawing] = pictures.draw([codes], [0])
    with Image.open(drawing.path) as kept:
        assert kept.tobytes() == drawing.image.tobytes()
    places = []

    class Part:
        def to(self, device) -> None:
            places.append(str(device))

    with pictures.tokenizer._at_work(Part(), torch.device("meta")):
        places.append("work")
    assert places == ["meta", "work", "cpu"]
