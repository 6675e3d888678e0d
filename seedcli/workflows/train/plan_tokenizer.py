"""`seed plan` for the stages of the tokenizer: the networks are built without weights, one batch is
passed through them on torch's meta device, and what it would cost is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from seedcli.errors import UsageError
from seedcli.files import parse_json
from seedcli.models.drawing.judge import build_judge, judge_config
from seedcli.models.drawing.published_shapes import (
    CLIP_H_VISION,
    PUBLISHED_AUTOENCODER,
    PUBLISHED_UNET,
    shape_autoencoder,
    shape_unet,
    shape_vision_tower,
)
from seedcli.models.drawing.target import LatentPainter, build_clip, target_embedding
from seedcli.models.drawing.unclip_parts import build_autoencoder, build_unet, latent_shape
from seedcli.models.visual.config import PRESETS
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.load import find_autoencoder, find_decoder
from seedcli.models.weights.locate import locate
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.training.initialize import overlay_shape

BATCH = 2  # batch norms refuse one picture
GB = 1e9


@dataclass
class Networks:
    """What a stage trains, and what it only reads, on the meta device.

    Attributes:
        trained: Modules of which something is trained.
        pass_trained: One forward pass of BATCH pictures -> what the loss is made of.
        frozen: Modules that are read.
        pass_frozen: Their forward pass of BATCH pictures.
        copies: Further fp32 copies of the trained parameters: a moving average.
        every_step: Whether the frozen pass is part of every update.
    """

    trained: list[nn.Module]
    pass_trained: Callable[[], Tensor]
    frozen: list[nn.Module] = field(default_factory=list)
    pass_frozen: Callable[[], Any] = lambda: None
    copies: int = 0
    every_step: bool = False


def plan_stage(recipe: TokenizerRecipe, *, count: int, peak_flops: float) -> dict[str, Any]:
    """Recipe of a tokenizer stage -> parameters, arithmetic, memory and hours.

    Args:
        recipe: Of `seed train-tokenizer`.
        count: Devices; each trains its share of the batch.
        peak_flops: What all of them reach together, FLOP/s.

    Raises:
        UsageError: The batch does not split, or a part's shape is not known before it is trained.
    """
    optimization = recipe.optimization
    if optimization.batch_size % count:
        raise UsageError(
            f"batch size {optimization.batch_size} does not split over {count} devices",
            remedy="set optimization.batch_size to a multiple",
        )
    with torch.device("meta"):
        networks = _BUILDERS[recipe.stage](recipe)
        parameters = [one for part in networks.trained for one in part.parameters()]
        trained = sum(one.numel() for one in parameters if one.requires_grad)
        parameters += [one for part in networks.frozen for one in part.parameters()]
        frozen = sum(one.numel() for one in parameters) - trained
        hooks, kept_bytes = _kept_bytes(parameters)
        with FlopCounterMode(display=False) as flops, hooks:
            networks.pass_trained().sum().backward()
        learning = flops.get_total_flops() / BATCH
        with FlopCounterMode(display=False) as flops, torch.no_grad():
            networks.pass_frozen()
        reading = flops.get_total_flops() / BATCH
    images = optimization.steps * optimization.batch_size
    per_image = learning + (reading if networks.every_step else 0)
    hours = images * per_image / peak_flops / 3600
    memory = {
        "weights": 4 * (trained + frozen),
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "average": 4 * trained * networks.copies,
        "activations": sum(kept_bytes) / BATCH * optimization.batch_size / count,
    }
    return {
        "stage": recipe.stage,
        "trained_parameters": trained,
        "frozen_parameters": frozen,
        "steps": optimization.steps,
        "images": images,
        "gflop_per_image": {"learning": learning / 1e9, "frozen": reading / 1e9},
        "frozen_every_step": networks.every_step,
        "memory_per_device_gb": {name: value / GB for name, value in memory.items()}
        | {"total": sum(memory.values()) / GB},
        "hours": hours,
        "device_hours": hours * count,
    }


def _kept_bytes(parameters: list[nn.Parameter]) -> tuple[saved_tensors_hooks, list[int]]:
    """A context, and the sizes of what autograd keeps within it for the backward pass beside
    parameters, in fp32: an upper bound in half precision.
    """
    # a storage that goes would give its number to the next one
    seen: dict[int, Tensor] = {one.untyped_storage()._cdata: one for one in parameters}
    sizes: list[int] = []

    def keep(kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = kept
            sizes.append(storage.nbytes())
        return kept

    return saved_tensors_hooks(keep, lambda kept: kept), sizes


def _words(vocab_size: int, max_tokens: int) -> Any:
    """What building a text tower asks of a tokenizer that is not learned yet."""

    class Words(SimpleNamespace):
        def __len__(self) -> int:
            return vocab_size

    return Words(bos_token_id=0, eos_token_id=1, pad_token_id=1, model_max_length=max_tokens)


def _ids(max_tokens: int) -> Tensor:
    return torch.zeros(BATCH, max_tokens, dtype=torch.long)


def _pictures(side: int) -> Tensor:
    return torch.zeros(BATCH, 3, side, side)


def _target(recipe: Any) -> Networks:
    model, side = recipe.model, recipe.data.image_size_px
    clip = build_clip(
        tokenizer=_words(model.vocab_size, model.max_text_tokens),
        image_size_px=side,
        **model.model_dump(exclude={"vocab_size", "max_text_tokens", "painter_width"}),
    )
    autoencoder = _autoencoder_of(recipe.autoencoder)
    shape = latent_shape(autoencoder, side)
    painter = LatentPainter(model.embedding_dim, model.painter_width, shape)

    def learn() -> Tensor:
        embedding = target_embedding(clip, _pictures(side))
        text = clip.text_model(input_ids=_ids(model.max_text_tokens)).pooler_output
        return painter(embedding).mean() + clip.text_projection(text).mean()

    def read() -> Any:
        return autoencoder.encode(_pictures(side))

    return Networks([clip, painter], learn, [autoencoder], read)


def _judge(recipe: Any) -> Networks:
    model, side = recipe.model, recipe.data.image_size_px
    judge = build_judge(
        judge_config(
            _words(model.vocab_size, model.max_text_tokens),
            image_size_px=side,
            **model.model_dump(exclude={"vocab_size", "max_text_tokens"}),
        )
    )

    def learn() -> Tensor:
        text = judge.encode_text(_ids(model.max_text_tokens))
        return judge.encode_image(_pictures(side)).mean() + text.mean()

    return Networks([judge], learn)


def _autoencoder(recipe: Any) -> Networks:
    autoencoder = build_autoencoder(
        **recipe.model.model_dump(), image_size_px=recipe.data.image_size_px
    )
    # crops are counted as whole pictures: the last updates see those, and memory is theirs
    return Networks([autoencoder], lambda: autoencoder(_pictures(recipe.data.image_size_px)).sample)


def _unclip(recipe: Any) -> Networks:
    side = recipe.data.image_size_px
    start = None if recipe.start == "scratch" else _pipeline_folder(recipe.start)
    autoencoder = _autoencoder_of(
        recipe.start if recipe.autoencoder == "pipeline" else recipe.autoencoder
    )
    target = _target_of(recipe.start if recipe.target == "pipeline" else recipe.target)
    channels, height, _ = latent_shape(autoencoder, side)
    if recipe.model is not None:
        unet = build_unet(
            latent_size=height,
            latent_channels=channels,
            **recipe.model.model_dump(),
            text_width=target.config.hidden_size,
            generation_dim=target.config.projection_dim,
        )
    elif start is None:
        unet = shape_unet(PUBLISHED_UNET)
    else:
        unet = shape_unet(_read_config(start / "unet"))
    tokenizer = _tokenizer_of(recipe.codes.tokenizer) if recipe.codes else None
    if recipe.diffusion.gradient_checkpointing:
        unet.train().enable_gradient_checkpointing()

    def learn() -> Tensor:
        states = torch.zeros(BATCH, 4, unet.config.cross_attention_dim)
        labels = torch.zeros(BATCH, unet.config.projection_class_embeddings_input_dim)
        latents = torch.zeros(BATCH, channels, height, height)
        times = torch.zeros(BATCH, dtype=torch.long)
        return unet(latents, times, states, class_labels=labels).sample

    def read() -> Any:
        autoencoder.encode(_pictures(side))
        target_embedding(target, _pictures(target.config.image_size))
        if tokenizer is not None:
            pixels = _pictures(tokenizer.config.vision.image_size_px)
            # the search for the nearest code vectors costs a thousandth of this
            tokenizer.decoder.generate(tokenizer.code_inputs(tokenizer.causal_embeddings(pixels)))

    frozen = [autoencoder, target, *([tokenizer] if tokenizer is not None else [])]
    stream = recipe.features.source == "stream"
    return Networks([unet], learn, frozen, read, copies=1, every_step=stream)


def _causal_qformer(recipe: Any) -> Networks:
    shape = {**recipe.model.shape}
    shape["qformer"] = {**shape.get("qformer", {}), "mask": recipe.model.mask}
    model = SeedModel(overlay_shape(PRESETS[recipe.model.preset], shape), text_branch=True)
    model.codebook.requires_grad_(False)
    model.decoder.requires_grad_(False)
    model.vision.requires_grad_(recipe.model.train_vision)

    def learn() -> Tensor:
        ids = _ids(model.config.qformer.max_text_tokens)
        causal_embeddings = model.causal_embeddings(_pictures(model.config.vision.image_size_px))
        text = model.text_features(ids, ids + 1)
        return model.image_features(causal_embeddings).mean() + text.mean()

    return Networks([model], learn)


def _codebook(recipe: Any) -> Networks:
    model, target = _tokenizer_of(recipe.tokenizer), _target_of(recipe.target)
    model.requires_grad_(False)
    for part in (model.codebook.encoder, model.decoder):
        part.requires_grad_(True)
    config = model.config

    def learn() -> Tensor:
        causal_embeddings = torch.zeros(BATCH, config.qformer.num_queries, config.qformer.width)
        vectors = model.code_inputs(causal_embeddings)
        return model.decoder.reconstruct(vectors).mean() + model.decoder.generate(vectors).mean()

    def read() -> Any:
        model.causal_embeddings(_pictures(config.vision.image_size_px))
        target_embedding(target, _pictures(target.config.image_size))

    return Networks([model], learn, [target], read, every_step=recipe.features.source == "stream")


_BUILDERS: dict[str, Callable[[Any], Networks]] = {
    "target": _target,
    "judge": _judge,
    "autoencoder": _autoencoder,
    "unclip": _unclip,
    "causal-qformer": _causal_qformer,
    "codebook": _codebook,
}


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return parse_json((folder / "config.json").read_bytes())
    except OSError:
        raise UsageError(
            f"the shape of {folder} is not known: it has no config.json",
            remedy="train it first, or name seed-nano or seed-2 in its place for a plan",
        ) from None


def _pipeline_folder(name: str) -> Path | None:
    """Folder of a pipeline; None: the published one, which need not be here."""
    if name == "seed-2":
        return None
    return Path(name) if Path(name).is_dir() else find_decoder(locate(name))


def _autoencoder_of(name: str) -> Any:
    if name == "seed-2":
        return shape_autoencoder(PUBLISHED_AUTOENCODER)
    return shape_autoencoder(_read_config(find_autoencoder(name)))


def _target_of(name: str) -> Any:
    if name in ("seed-2", "clip-h"):
        return shape_vision_tower(CLIP_H_VISION)
    if name == "seed-nano":
        return shape_vision_tower(_read_config(_pipeline_folder(name) / "image_encoder"))
    return shape_vision_tower(_read_config(Path(name)))


def _tokenizer_of(name: str) -> Any:
    config = PRESETS[name] if name in PRESETS else locate(name).config
    return SeedModel(config, text_branch=False)
