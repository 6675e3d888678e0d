"""The generation target: a small CLIP whose un-normalised image embedding [B,G] is what generation
embeddings learn to be.

For `seed-2` it is OpenCLIP ViT-H/14, which comes trained; for `seed-nano` it is trained here on
emoji. Its vision tower is, unchanged, the `image_encoder` of the unCLIP pipeline, so both ends of
the path speak of the same embedding.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
)

from seedcli.errors import DataError
from seedcli.models.quiet import quiet
from seedcli.models.weights.sizes import check_sizes
from seedcli.models.weights.tensors import UNREADABLE, reason

START, END = "<|startoftext|>", "<|endoftext|>"


class LatentPainter(nn.Module):
    """Image embedding [B,G] -> latents [B,C,s,s]; keeps appearance in the embedding while the CLIP
    trains. Starts at 4 x 4 and doubles, so s is 4 times a power of two.
    """

    def __init__(self, embedding_dim: int, width: int, latent_shape: tuple[int, int, int]):
        super().__init__()
        channels, size, _ = latent_shape
        doublings = (size // 4).bit_length() - 1
        if size != 4 << max(doublings, 0):
            raise ValueError(f"latents are {size} x {size}; expected 4 times a power of two")
        self.width = width
        self.seed = nn.Linear(embedding_dim, width * 4 * 4)
        widths = [max(width >> index, 32) for index in range(doublings + 1)]
        self.grow = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(8, width_in),
                nn.SiLU(),
                nn.Conv2d(width_in, width_out, 3, padding=1),
                nn.GroupNorm(8, width_out),
                nn.SiLU(),
                nn.Conv2d(width_out, width_out, 3, padding=1),
            )
            for width_in, width_out in zip([width, *widths], widths, strict=False)
        )
        self.out = nn.Sequential(nn.SiLU(), nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, embedding: Tensor) -> Tensor:
        x = self.seed(embedding).view(-1, self.width, 4, 4)
        for index, block in enumerate(self.grow):
            x = block(x if index == 0 else F.interpolate(x, scale_factor=2.0))
        return self.out(x)


def train_bpe(texts: list[str], *, vocab_size: int, max_tokens: int) -> CLIPTokenizer:
    """Texts -> CLIP's kind of text tokenizer (byte-level BPE, lower case, `</w>` word ends) with a
    vocabulary learned from them.
    """
    bpe = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    # The trainer numbers what it meets in the order of a hash table, another one in each process,
    # and ties between merges go by number. So every byte and every byte at a word's end gets its
    # number beforehand; ranks and resumed runs then learn the same vocabulary.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [START, END, *alphabet, *(f"{byte}</w>" for byte in alphabet)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=known, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    learned = json.loads(bpe.to_str())["model"]
    return CLIPTokenizer(
        vocab=learned["vocab"],
        merges=[tuple(merge) for merge in learned["merges"]],
        model_max_length=max_tokens,
    )


def save_words(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes a text tokenizer as it was made. It remembers how it was last asked to pad and cut,
    which is another thing after a resume that had nothing left to read.
    """
    as_made = copy.deepcopy(tokenizer)
    as_made.backend_tokenizer.no_padding()
    as_made.backend_tokenizer.no_truncation()
    as_made.save_pretrained(folder)


def build_clip(
    *,
    tokenizer: CLIPTokenizer,
    embedding_dim: int,
    image_size_px: int,
    patch_size_px: int,
    vision_width: int,
    vision_depth: int,
    text_width: int,
    text_depth: int,
    head_dim: int = 32,
) -> CLIPModel:
    """A CLIP of any size with random weights from torch's global generator."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": text_width,
        "intermediate_size": 4 * text_width,
        "num_hidden_layers": text_depth,
        "num_attention_heads": text_width // head_dim,
        "max_position_embeddings": tokenizer.model_max_length,
        "projection_dim": embedding_dim,
        **ids,
    }
    vision = {
        "hidden_size": vision_width,
        "intermediate_size": 4 * vision_width,
        "num_hidden_layers": vision_depth,
        "num_attention_heads": vision_width // head_dim,
        "image_size": image_size_px,
        "patch_size": patch_size_px,
        "projection_dim": embedding_dim,
    }
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=embedding_dim)
    )


def target_embedding(clip: CLIPModel | CLIPVisionModelWithProjection, pixels: Tensor) -> Tensor:
    """pixels [B,3,S,S] -> un-normalised image embedding [B,G]: SEED's regression target
    (spec: stage II, L_img).
    """
    return clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)


@torch.no_grad()
def fold_standardization(clip: CLIPModel, mean: Tensor, deviation: Tensor) -> None:
    """Changes a CLIP so that its image embedding becomes (embedding - W mean) / deviation, and it
    stays a plain CLIP.

    The projection W has no bias, so the mean is taken off before it, from the bias of the norm that
    precedes it.

    Args:
        clip: Changed in place.
        mean: Mean pooled output of the vision tower [V], what the projection reads.
        deviation: Of the embedding [G].
    """
    clip.vision_model.post_layernorm.bias -= mean
    clip.visual_projection.weight /= deviation[:, None]


def load_target(folder: Path) -> CLIPVisionModelWithProjection:
    """Folder of a trained target (a saved CLIP, or an unCLIP pipeline's `image_encoder`) -> its
    vision tower, frozen, in eval mode, fp32.

    Raises:
        DataError: The folder holds no CLIP.
    """
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder} holds no CLIP: there is no config.json in it",
            remedy="train one with recipes/nano-target.toml",
        )
    return load_quietly(CLIPVisionModelWithProjection, folder).eval().requires_grad_(False)


def load_quietly(kind: type[PreTrainedModel], folder: Path) -> PreTrainedModel:
    """One tower of a saved CLIP in fp32, without the report that the other tower's
    weights were not wanted.

    Raises:
        DataError: It cannot be loaded.
    """
    check_sizes(Path(folder))
    try:
        with quiet():
            return kind.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                attn_implementation="sdpa",  # a configuration may name a kernel of the hub
            )
    except UNREADABLE as error:
        raise DataError(
            f"the CLIP in {folder} cannot be loaded: {reason(error)}",
            remedy="expected a folder as save_pretrained of transformers writes it",
        ) from error
