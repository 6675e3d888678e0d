"""pixels -> features: a plain pre-norm ViT; at full size EVA-CLIP-g cut after block
39, as BLIP-2 uses it.

Source: AILab-CVC/SEED@93b3cf4, models/seed_qformer/eva_vit.py (facts). Our own code rather than
timm's `eva_giant_patch14_224.clip`, because weights stay in the half precision of their file while
arithmetic runs in fp32 (see `layers`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedcli.models.visual.config import VisionConfig
from seedcli.models.visual.layers import LayerNorm, Linear, Mlp, attend


class VisionAttention(nn.Module):
    """Self-attention [B,P,V] -> [B,P,V] with one matrix for query, key and value; only query
    and value have a bias.
    """

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = Linear(config.width, 3 * config.width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(config.width))
        self.value_bias = nn.Parameter(torch.zeros(config.width))
        self.output = Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        query, value = query + self.query_bias.to(x.dtype), value + self.value_bias.to(x.dtype)
        return self.output(attend(query, key, value, self.num_heads, scale_first=True))


class VisionBlock(nn.Module):
    """[B,P,V] -> [B,P,V]: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.attention_norm = LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = VisionAttention(config)
        self.mlp_norm = LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = Mlp(config.width, config.mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class PatchEmbedding(nn.Conv2d):
    """pixels [B,3,S,S] -> patch tokens [B,P-1,V], row by row, in the pixels' dtype."""

    def forward(self, pixels: Tensor) -> Tensor:
        patches = F.conv2d(
            pixels, self.weight.to(pixels.dtype), self.bias.to(pixels.dtype), stride=self.stride
        )
        return patches.flatten(2).mT


class VisionTransformer(nn.Module):
    """pixels [B,3,S,S] -> residual stream of the last block [B,P,V], class token first;
    no final norm, no head.
    """

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        self.patch_embedding = PatchEmbedding(
            3, config.width, kernel_size=config.patch_size_px, stride=config.patch_size_px
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position_embedding = nn.Parameter(torch.zeros(1, config.num_tokens, config.width))
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))

    def forward(self, pixels: Tensor) -> Tensor:
        """Runs the ViT.

        Raises:
            ValueError: `pixels` is not [B,3,S,S] with the configured side; there is no silent
                interpolation of positions.
        """
        side = self.config.image_size_px
        if pixels.shape[1:] != (3, side, side):
            raise ValueError(f"pixels are {tuple(pixels.shape)}, expected [B, 3, {side}, {side}]")
        x = self.patch_embedding(pixels)
        x = torch.cat(
            [self.class_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1
        ) + self.position_embedding.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return x
