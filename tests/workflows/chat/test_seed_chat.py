"""`SeedChat` as the library has it: pictures without files, and many prompts at once."""

from __future__ import annotations

import pytest
from PIL import Image

from seedcli.errors import UsageError
from seedcli.workflows.chat.seed_chat import SeedChat


def test_the_library_gives_pictures_and_keeps_no_files(
    tiny_llm_folder, picture, tmp_path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    chat = SeedChat.from_pretrained(
        tiny_llm_folder,
        device="cpu",
        picture_steps=1,
        picture_guidance=1,
        temperature=1.5,
        top_p=1.0,
        max_new_tokens=45,
    )
    turn = chat.say("draw it", images=[picture, Image.open(picture)], draw=True)
    [image, *_] = turn.images
    assert image.mode == "RGB" and turn.files == [] and len(turn.codes[0]) == 32
    shown = chat.tokenizer.encode(picture)[0].tolist()
    assert chat.messages[0].segments == (tuple(shown), tuple(shown), "draw it")
    [again] = chat.tokenizer.decode(turn.codes[0], steps=1, guidance=1)
    assert again.tobytes() == image.tobytes()
    chat.say("that one", images=[tuple(turn.codes[0])])
    assert chat.messages[2].segments[0] == tuple(turn.codes[0])
    assert {path.name for path in tmp_path.iterdir()} <= {picture.name}
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="attached codes: 3 codes"):
        chat.say("that one", images=[(1, 2, 3)])
    with pytest.raises(TypeError, match="'temprature'"):
        SeedChat.from_pretrained(tiny_llm_folder, temprature=0)


def test_many_prompts_at_once_are_those_of_one_each(talk, picture) -> None:
    chat = talk(sampling={"seed": 5})
    prompts = ["a cat", ["what is this", picture], ["like", (3,) * 32], "a cat"]
    together = chat.generate(prompts, draw=True)
    assert chat.messages == [] and chat.next_seed == 5
    for number, prompt in enumerate(prompts):
        [alone] = chat.generate([prompt], seeds=[5 + number], draw=True)
        assert (alone.text, alone.codes) == (together[number].text, together[number].codes)
    one = talk(sampling={"seed": 5}).say("a cat", draw=True)
    assert (one.text, one.codes) == (together[0].text, together[0].codes)
    assert together[0].codes != together[3].codes
    batches = chat.generate(prompts, draw=True, batch_size=3)
    assert [turn.codes for turn in batches] == [turn.codes for turn in together]
    with pytest.raises(UsageError, match="1 seeds for 2 prompts"):
        chat.generate(["a", "b"], seeds=[1])
    with pytest.raises(UsageError, match="nothing is said"):
        chat.generate(["a", " "])
