"""code vectors -> generation embedding, and code vectors -> reconstructed causal embeddings: two
towers over one expansion.

The generation embedding is trained towards the image embedding of the unCLIP decoder. The
reconstruction serves training and the retrieval of codes. Both see all codes at once:
causality ends at the codebook.
Source: AILab-CVC/SEED@93b3cf4, models/seed_qformer/qformer_quantizer.py, vit.py (facts).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seedcli.models.visual.config import GenerationConfig
from seedcli.models.visual.layers import LayerNorm, Linear, Mlp, attend


class DecoderBlock(nn.Module):
    """Pre-norm transformer block over the codes, no mask: [B,Q,D] -> [B,Q,D]."""

    def __init__(self, config: GenerationConfig, width: int):
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = LayerNorm(width, eps=config.layer_norm_eps)
        self.qkv = Linear(width, 3 * width)
        self.output = Linear(width, width)
        self.mlp_norm = LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        x = x + self.output(attend(query, key, value, self.num_heads))
        return x + self.mlp(self.mlp_norm(x))


class Tower(nn.Module):
    """[B,Q,D] -> [B,Q,D]: position table, then decoder blocks."""

    def __init__(self, config: GenerationConfig, width: int, num_queries: int):
        super().__init__()
        self.position_embedding = nn.Parameter(torch.zeros(1, num_queries, width))
        self.blocks = nn.ModuleList(DecoderBlock(config, width) for _ in range(config.depth))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position_embedding.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return x


class CodeDecoder(nn.Module):
    """Everything after the codebook that is ours: code vectors [B,Q,E] -> generation embedding
    [B,G] or reconstruction [B,Q,D].
    """

    def __init__(self, config: GenerationConfig, *, code_dim: int, width: int, num_queries: int):
        super().__init__()
        self.expand = nn.Sequential(Linear(code_dim, code_dim), nn.Tanh(), Linear(code_dim, width))
        self.reconstruction = Tower(config, width, num_queries)
        self.generation = Tower(config, width, num_queries)
        first, second, last = config.head_dims
        self.head = nn.Sequential(
            Linear(width, first, bias=False),
            nn.ReLU(),
            Linear(first, second, bias=False),
            nn.ReLU(),
            Linear(second, last, bias=False),
        )
        self.projection = Linear(num_queries * last, config.generation_dim)

    def generate(self, code_vectors: Tensor) -> Tensor:
        """[B,Q,E] -> generation embedding [B,G], not normalised: its target is an
        un-normalised CLIP embedding.
        """
        return self.projection(self.head(self.generation(self.expand(code_vectors))).flatten(1))

    def reconstruct(self, code_vectors: Tensor) -> Tensor:
        """[B,Q,E] -> reconstructed causal embeddings [B,Q,D]."""
        return self.reconstruction(self.expand(code_vectors))
