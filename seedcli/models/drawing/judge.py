"""The judge of pictures: any open_clip model; for `seed-nano` a small one, of other shape and
seed than its target CLIP.

A folder of the small one is what open_clip itself reads as `local-dir:FOLDER`, so every score of it
can be repeated without this package. A configuration is data: keys by which a folder or a hub id
could have other code or other models loaded are refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import (
    CLIP,
    create_model_and_transforms,
    get_model_config,
    get_pretrained_cfg,
    get_tokenizer,
)
from open_clip.coca_model import MultimodalCfg
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.files import parse_json, publish_json, published
from seedcli.models.drawing.target import save_words
from seedcli.models.visual.config import CLIP_MEAN, CLIP_STD
from seedcli.models.weights.download import fetch_source
from seedcli.models.weights.published import Source
from seedcli.models.weights.sizes import check_sizes
from seedcli.models.weights.tensors import UNREADABLE, reason

_CONFIG_FILE = "open_clip_config.json"
_HUB = "hf-hub:"
_MODEL_KEYS = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "multimodal_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
}
_HF_WORDS = "hf_tokenizer_name"
_TOKENIZER_KEYS = {"clean", "strip_sep_token"}  # what open_clip's own configurations use
_PART_KEYS = {
    "vision_cfg": {each.name for each in dataclasses.fields(CLIPVisionCfg)},
    # `hf_*` names another model, wherever it may lie
    "text_cfg": {
        each.name
        for each in dataclasses.fields(CLIPTextCfg)
        if not each.name.startswith("hf_") or each.name == _HF_WORDS
    },
    "multimodal_cfg": {each.name for each in dataclasses.fields(MultimodalCfg)},
}


def judge_config(
    tokenizer: CLIPTokenizer,
    *,
    embedding_dim: int,
    image_size_px: int,
    vision_layers: tuple[int, int, int, int],
    vision_width: int,
    text_width: int,
    text_depth: int,
) -> dict[str, Any]:
    """open_clip's `model_cfg` of a ResNet with attention pooling and a small text transformer."""
    return {
        "embed_dim": embedding_dim,
        "vision_cfg": {
            "image_size": image_size_px,
            "layers": list(vision_layers),
            "width": vision_width,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": tokenizer.model_max_length,
            "vocab_size": len(tokenizer),
            "width": text_width,
            "heads": text_width // 32,
            "layers": text_depth,
            "pool_type": "eos",
            "eos_id": tokenizer.eos_token_id,
            _HF_WORDS: ".",
        },
    }


def build_judge(config: dict[str, Any]) -> CLIP:
    """`model_cfg` -> open_clip model with random weights from torch's global generator."""
    return CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=CLIPVisionCfg(**config["vision_cfg"]),
        text_cfg=CLIPTextCfg(**config["text_cfg"]),
    )


def save_judge(judge: CLIP, config: dict[str, Any], tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes a folder that open_clip reads as `local-dir:FOLDER`; weights in fp16."""
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in judge.state_dict().items()
    }
    with published(folder / "open_clip_model.safetensors") as partial:
        save_file(tensors, partial)
    description = {
        "model_cfg": config,
        "preprocess_cfg": {"mean": list(CLIP_MEAN), "std": list(CLIP_STD), "resize_mode": "squash"},
    }
    publish_json(folder / _CONFIG_FILE, description)
    save_words(tokenizer, folder)


class ClipJudge:
    """An open_clip model that compares pictures and words. `name` says which model with
    which weights gave a score.
    """

    def __init__(
        self, name: str, model: CLIP, preprocess: Any, tokenizer: Any, device: torch.device
    ):
        self.name, self._model, self._preprocess, self._tokenizer, self._device = (
            name,
            model,
            preprocess,
            tokenizer,
            device,
        )

    @torch.no_grad()
    def image_features(self, images: list[Image.Image], *, batch_size: int = 64) -> Tensor:
        """Pictures -> L2-normalised features [N,F], fp32 on the CPU."""
        parts = []
        for start in range(0, len(images), batch_size):
            pixels = torch.stack(
                [
                    self._preprocess(image.convert("RGB"))
                    for image in images[start : start + batch_size]
                ]
            )
            parts.append(
                F.normalize(self._model.encode_image(pixels.to(self._device)).float(), dim=-1).cpu()
            )
        return torch.cat(parts)

    @torch.no_grad()
    def text_features(self, texts: list[str], *, batch_size: int = 256) -> Tensor:
        """Texts -> L2-normalised features [N,F], fp32 on the CPU; longer texts than
        the model reads are cut.
        """
        parts = []
        for start in range(0, len(texts), batch_size):
            ids = self._tokenizer(texts[start : start + batch_size])
            parts.append(
                F.normalize(self._model.encode_text(ids.to(self._device)).float(), dim=-1).cpu()
            )
        return torch.cat(parts)


def load_judge(model: str, *, device: str | torch.device = "cpu") -> ClipJudge:
    """An open_clip model by folder, by hub id (`hf-hub:OWNER/NAME`), or by `ARCHITECTURE/WEIGHTS`
    such as `ViT-B-32/openai`.

    OpenAI's weights and some others were trained with QuickGELU. open_clip knows which, and
    only warns where the architecture's name does not say so; we give them the activation that
    they were trained with.

    Raises:
        DataError: There is no such model, its weights could not be had, or its configuration asks
            for more than a model.
    """
    name, pretrained = model, None
    if Path(model).is_dir():
        name = f"local-dir:{model}"
        config = _read_config(Path(model) / _CONFIG_FILE)
        check_sizes(Path(model), _CONFIG_FILE)
    elif model.startswith(_HUB):
        repo, _, revision = model.removeprefix(_HUB).partition("@")
        source = Source(repo=repo, revision=revision or "main")
        config = _read_config(fetch_source(source, _CONFIG_FILE, reporter=Reporter()))
    else:
        name, _, pretrained = model.partition("/")
        if not pretrained:
            raise DataError(
                f"judge {model!r} names no weights",
                remedy="say ARCHITECTURE/WEIGHTS, e.g. ViT-B-32/openai, a folder, or hf-hub:ID",
            )
        config = get_model_config(name) or {}
    place = torch.device(device)
    # open_clip's own word splitter has no such argument
    words = {"trust_remote_code": False} if config.get("text_cfg", {}).get(_HF_WORDS) else {}
    try:
        network, _, preprocess = create_model_and_transforms(
            name,
            pretrained=pretrained,
            precision="fp32",
            device=place,
            force_quick_gelu=_wants_quick_gelu(name, pretrained),
            weights_only=True,
        )
        tokenizer = get_tokenizer(name, **words)
    except UNREADABLE as error:
        raise DataError(
            f"judge {model!r} cannot be loaded: {reason(error)}",
            remedy="see open_clip.list_pretrained() for names",
        ) from error
    return ClipJudge(model, network.eval().requires_grad_(False), preprocess, tokenizer, place)


def _read_config(path: Path) -> dict[str, Any]:
    """`model_cfg` of an open_clip folder.

    Raises:
        DataError: It cannot be read, or has a key that describes no network: such as
            `trust_remote_code` among `tokenizer_kwargs`, which runs the folder's Python files.
    """
    try:
        config = parse_json(path.read_bytes())["model_cfg"]
        text = config.get("text_cfg", {})
        levels = {"model_cfg": (config, _MODEL_KEYS)}
        for part, known in _PART_KEYS.items():
            levels[f"model_cfg.{part}"] = (config.get(part, {}), known)
        words = text.get("tokenizer_kwargs") or {}
        levels["model_cfg.text_cfg.tokenizer_kwargs"] = (words, _TOKENIZER_KEYS)
        other = [
            f"{level}.{key}"
            for level, (found, known) in levels.items()
            for key in found.keys() - known
        ]
        elsewhere = str(config.get("vision_cfg", {}).get("timm_model_name") or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no open_clip configuration: {type(error).__name__}: {error}",
            remedy="--judge takes a folder that open_clip's save_pretrained or stage `judge` wrote",
        ) from None
    if ":" in elsewhere or "/" in elsewhere:
        other.append(f"model_cfg.vision_cfg.timm_model_name = {elsewhere!r}")
    if other:
        raise DataError(
            f"{path} is refused: {', '.join(sorted(other))} describes no network; a configuration "
            "may load neither code nor other models",
            remedy="remove it, or name a model of open_clip.list_pretrained()",
        )
    return config


def _wants_quick_gelu(architecture: str, weights: str | None) -> bool:
    return bool(weights) and bool(
        (get_pretrained_cfg(architecture, weights) or {}).get("quick_gelu")
    )
