"""features -> causal embeddings: BLIP-2's Q-Former with a causal mask over its
queries, and its text branch.

Query i sees the whole image and queries 0..i, so code i depends on the image and on codes before it
alone. The mask is a word in the configuration; the number of queries is a number. Differs from
source: the official code switches causality on by finding exactly 32.
Source: AILab-CVC/SEED@93b3cf4, models/seed_qformer/qformer_causual.py (facts).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedcli.models.visual.config import QFormerConfig
from seedcli.models.visual.layers import LayerNorm, Linear, Mlp, attend


class Attention(nn.Module):
    """BERT's attention with its residual: x [B,N,D], memory [B,M,C] -> norm(x +
    output(attention)) [B,N,D].
    """

    def __init__(self, config: QFormerConfig, memory_dim: int):
        super().__init__()
        self.num_heads, self.p = config.num_heads, config.dropout
        self.query = Linear(config.width, config.width)
        self.key = Linear(memory_dim, config.width)
        self.value = Linear(memory_dim, config.width)
        self.output = Linear(config.width, config.width)
        self.norm = LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(
        self, x: Tensor, memory: Tensor, *, causal: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        mixed = attend(
            self.query(x),
            self.key(memory),
            self.value(memory),
            self.num_heads,
            causal=causal,
            mask=mask,
            dropout=self.p if self.training else 0.0,
        )
        return self.norm(x + F.dropout(self.output(mixed), self.p, self.training))


class FeedForward(nn.Module):
    """BERT's feed-forward with its residual: [B,N,D] -> norm(x + mlp(x)) [B,N,D]."""

    def __init__(self, config: QFormerConfig):
        super().__init__()
        self.p = config.dropout
        self.mlp = Mlp(config.width, config.mlp_dim)
        self.norm = LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + F.dropout(self.mlp(x), self.p, self.training))


class QFormerLayer(nn.Module):
    """[B,Q,D], features [B,P,V] -> [B,Q,D]: self-attention, cross-attention in every n-th layer,
    feed-forward of the queries.
    """

    def __init__(self, config: QFormerConfig, vision_width: int, index: int):
        super().__init__()
        self.causal = config.mask == "causal"
        self.self_attention = Attention(config, config.width)
        self.cross_attention = (
            Attention(config, vision_width) if index % config.cross_attention_every == 0 else None
        )
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        x = self.self_attention(x, x, causal=self.causal)
        if self.cross_attention is not None:
            x = self.cross_attention(x, features)
        return self.feed_forward(x)


class QFormer(nn.Module):
    """features [B,P,V] -> causal embeddings [B,Q,D]. The queries carry no position table: they
    are learned one by one.
    """

    def __init__(self, config: QFormerConfig, vision_width: int):
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_queries, config.width))
        self.embedding_norm = LayerNorm(config.width, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(
            QFormerLayer(config, vision_width, index) for index in range(config.depth)
        )

    def forward(self, features: Tensor) -> Tensor:
        x = self.embedding_norm(self.query_tokens.to(features.dtype)).expand(len(features), -1, -1)
        x = F.dropout(x, self.config.dropout, self.training)
        for layer in self.layers:
            x = layer(x, features)
        return x


class TextBranch(nn.Module):
    """Text side of the contrastive space: its own embeddings and feed-forwards around the
    Q-Former's self-attention.

    Holds both projections and the temperature too, so that a model without
    captions carries none of it.
    """

    def __init__(self, config: QFormerConfig):
        super().__init__()
        self.config = config
        self.word_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.max_positions, config.width)
        self.feed_forwards = nn.ModuleList(FeedForward(config) for _ in range(config.depth))
        self.text_projection = Linear(config.width, config.projection_dim)
        self.image_projection = Linear(config.width, config.projection_dim)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def hidden_states(self, qformer: QFormer, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Ids [B,T], mask [B,T] -> last hidden states [B,T,D]; bidirectional, rows at
        padding are meaningless.
        """
        x = self.word_embedding(text_ids) + self.position_embedding.weight[: text_ids.shape[1]]
        x = F.dropout(qformer.embedding_norm(x), self.config.dropout, self.training)
        for layer, feed_forward in zip(qformer.layers, self.feed_forwards, strict=True):
            x = feed_forward(layer.self_attention(x, x, mask=text_mask))
        return x

    def text_features(self, qformer: QFormer, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Ids [B,T], mask [B,T] -> [B,F], the projected [CLS], L2-normalised."""
        return F.normalize(
            self.text_projection(self.hidden_states(qformer, text_ids, text_mask)[:, 0]), dim=-1
        )

    def image_features(self, causal_embeddings: Tensor) -> Tensor:
        """[B,Q,D] -> [B,Q,F], every query projected and L2-normalised; retrieval
        and stage I use the last.
        """
        return F.normalize(self.image_projection(causal_embeddings), dim=-1)
