"""Loading weights never runs code: folders that try, one for each way in."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seedcli.data.documents.conversations import Message, conversation_template
from seedcli.data.tables import open_table
from seedcli.errors import DataError
from seedcli.models.drawing.judge import load_judge
from seedcli.models.drawing.target import load_target
from seedcli.models.drawing.unclip import load_decoder
from seedcli.models.drawing.unclip_parts import load_pipeline
from seedcli.models.language.load import load_language_model
from seedcli.models.language.seed_llama import load_causal_model
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.models.weights.locate_llm import locate_llm

G = 64  # generation width of the tiny decoder
AUTO_MAP = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Model",
    "AutoModelForCausalLM": "evil.Model",
    "AutoTokenizer": ["evil.Words", None],
}


class Bomb:
    """A pickle that writes a file when it is read."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return exec, (f"open({str(self.mark)!r}, 'w')",)


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file that exists once anything was run."""
    return tmp_path / "ran"


def python_file(path: Path, mark: Path) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    names = "Config", "Model", "Words", "UNet2DConditionModel", "StableUnCLIPImg2ImgPipeline"
    classes = "\n".join(f"class {name}: ..." for name in names)
    path.write_text(f"open({str(mark)!r}, 'w')\n{classes}\ndef generate(*a, **k): ...\n")


def change(path: Path, **entries: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | entries))


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "armed"))


def pickled(folder: Path, safe: str, name: str, mark: Path) -> None:
    """Replaces a safetensors file by a pickle of the same tensors and a bomb."""
    tensors = load_file(folder / safe)
    (folder / safe).unlink()
    torch.save(tensors | {"bomb": Bomb(mark)}, folder / name)


def refused_or_unarmed(load: Callable[[], object], mark: Path) -> None:
    with contextlib.suppress(DataError):
        load()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}),
        ("text_cfg", {"tokenizer_kwargs": {"tokenizer_class": "evil.Words"}}),
        ("text_cfg", {"hf_model_name": "."}),
        ("vision_cfg", {"timm_model_name": "local-dir:."}),
        ("auto_map", AUTO_MAP),
    ],
)
def test_judge_by_its_configuration(tiny_judge_folder, tmp_path, mark, key, value):
    folder = copy_of(tiny_judge_folder, tmp_path)
    python_file(folder / "evil.py", mark)
    change(folder / "tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="Words")
    described = json.loads((folder / "open_clip_config.json").read_text())
    described["model_cfg"][key] = described["model_cfg"].get(key, {}) | value
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    named = next(iter(value)) if key == "vision_cfg" or "hf_model_name" in value else key
    with pytest.raises(DataError, match=f"is refused: model_cfg.*{named}"):
        load_judge(str(folder))
    assert not mark.exists()


def test_judge_by_its_words_and_weights(tiny_judge_folder, tmp_path, mark):
    folder = copy_of(tiny_judge_folder, tmp_path)
    python_file(folder / "evil.py", mark)
    change(folder / "tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="Words")
    refused_or_unarmed(lambda: load_judge(str(folder)), mark)
    pickled(folder, "open_clip_model.safetensors", "open_clip_pytorch_model.bin", mark)
    with pytest.raises(DataError):
        load_judge(str(folder))
    assert not mark.exists()


def test_target(tiny_decoder_folder, tmp_path, mark):
    folder = copy_of(tiny_decoder_folder / "image_encoder", tmp_path)
    python_file(folder / "evil.py", mark)
    change(folder / "config.json", auto_map=AUTO_MAP, attn_implementation="owner/kernel")
    load_target(folder)
    pickled(folder, "model.safetensors", "pytorch_model.bin", mark)
    with pytest.raises(DataError, match="cannot be loaded"):
        load_target(folder)
    assert not mark.exists()


def test_language_model(tiny_llm_folder, tmp_path, mark):
    folder = copy_of(tiny_llm_folder, tmp_path)
    for name in ("evil.py", "custom_generate/generate.py"):
        python_file(folder / name, mark)
    change(folder / "tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="Words")
    change(folder / "config.json", auto_map=AUTO_MAP, attn_implementation="owner/kernel")
    for load in (
        lambda: load_language_model(locate_llm(str(folder)), device="cpu"),
        lambda: load_causal_model(folder),
        lambda: load_text_tokenizer(folder),
    ):
        refused_or_unarmed(load, mark)
    pickled(folder, "model.safetensors", "pytorch_model.bin", mark)
    for load in (
        lambda: load_language_model(locate_llm(str(folder)), device="cpu"),
        lambda: load_causal_model(folder),
    ):
        with pytest.raises(DataError):
            load()
        assert not mark.exists()


def test_chat_template(tiny_llm_folder, tmp_path, mark):
    folder = copy_of(tiny_llm_folder, tmp_path)
    walk = "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{{ c.__init__.__globals__ }}"
    (folder / "chat_template.jinja").write_text(walk + "{% endfor %}")
    text_tokenizer = load_text_tokenizer(folder)
    with pytest.raises(DataError, match="refuses the conversation"):
        conversation_template("own", text_tokenizer).prompt([Message("user", ("hello",))])


@pytest.mark.parametrize(
    "entries",
    [
        {"_class_name": ["evil", "StableUnCLIPImg2ImgPipeline"]},
        {"_class_name": ["evil", "StableUnCLIPImg2Img"]},
        {"unet": ["evil", "UNet2DConditionModel"]},
        {"unet": ["evil", ["UNet2DConditionModel"]]},
        {"text_encoder": ["transformers", "AutoModel"]},
        {"helper": ["evil", "Model"]},
    ],
)
def test_pipeline_by_its_index(tiny_decoder_folder, tmp_path, mark, entries):
    folder = copy_of(tiny_decoder_folder, tmp_path)
    for name in ("evil.py", "unet/evil.py", "text_encoder/evil.py", "helper/evil.py"):
        python_file(folder / name, mark)
    change(folder / "text_encoder" / "config.json", auto_map=AUTO_MAP)
    change(folder / "model_index.json", **entries)
    with pytest.raises(DataError, match="evil|AutoModel"):
        load_decoder(folder, generation_dim=G)
    with pytest.raises(DataError, match="evil|AutoModel"):
        load_pipeline(folder)
    assert not mark.exists()


def test_pipeline_by_its_parts(tiny_decoder_folder, tmp_path, mark):
    folder = copy_of(tiny_decoder_folder, tmp_path)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        python_file(folder / part / "evil.py", mark)
        for config in (folder / part).glob("*config.json"):
            change(config, auto_map=AUTO_MAP)
    load_decoder(folder, generation_dim=G)
    assert not mark.exists()
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("image_normalizer", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        name = f"{'pytorch_' if part == 'text_encoder' else ''}{stem}.bin"
        pickled(folder / part, f"{stem}.safetensors", name, mark)
    with pytest.raises(DataError):
        load_decoder(folder, generation_dim=G)
    assert not mark.exists()


def test_visual_tokenizer(released_folder, tmp_path, mark):
    folder = copy_of(released_folder, tmp_path)
    for name in ("eva_vit_g.pth", "seed_quantizer.pt"):
        content = torch.load(folder / name, weights_only=True)
        torch.save(content | {"bomb": Bomb(mark)}, folder / name)
    with pytest.raises(DataError, match="asks for more than tensors"):
        load_seed_model(locate(str(folder)))
    assert not mark.exists()


def test_training_table(tmp_path, mark):
    """Sets with a script of their own were the way until datasets 4."""
    folder = tmp_path / "armed"
    python_file(folder / "armed.py", mark)
    change(folder / "dataset_infos.json", default={})
    refused_or_unarmed(lambda: open_table(str(folder), split="train"), mark)
