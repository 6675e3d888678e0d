"""The few layers that the whole model core is made of; they separate how weights are stored from
how they are computed with.

A layer computes in the dtype of its input and casts its weights when it uses them. So the released
ViT stays in its half-precision file, memory-mapped, while arithmetic runs in fp32; and
`official-fp16` is nothing but fp16 inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """[...,in] -> [...,out] in the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(
            x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        )


class LayerNorm(nn.LayerNorm):
    """[...,dim] -> [...,dim]; statistics and affine part in fp32, result in the input's dtype, as
    autocast and CUDA's half kernel do.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
        ).to(x.dtype)


class Mlp(nn.Module):
    """[...,dim] -> [...,dim] through one hidden layer and exact (erf) GELU."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    *,
    causal: bool = False,
    mask: Tensor | None = None,
    scale_first: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Multi-head attention: query [B,N,C], key and value [B,M,C] -> [B,N,C].

    Args:
        num_heads: Heads; C is a multiple of it.
        causal: Row i sees columns 0..i.
        mask: Padding [B,M], 1 where a column may be seen.
        scale_first: Scale the query before the product instead of the scores after it. Only half
            precision can tell: the ViT does it first.
        dropout: Probability for attention weights; the caller passes 0 outside training.

    fp16 takes the spelled-out path, whose order of roundings is the official one (softmax in fp32,
    products in fp16); so does bf16 that trains on a CPU.
    """
    query, key, value = (
        x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value)
    )
    additive = None if mask is None else (1.0 - mask[:, None, None, :].to(query.dtype)) * -10000.0
    # the fused kernel's gradient in bf16 is seven times slower on a CPU than the products it saves
    slow = query.dtype == torch.bfloat16 and query.device.type == "cpu" and query.requires_grad
    if query.dtype != torch.float16 and not slow:
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=additive, is_causal=causal, dropout_p=dropout
        )
    else:
        scale = query.shape[-1] ** -0.5
        scores = (query * scale) @ key.mT if scale_first else (query @ key.mT) * scale
        if causal:
            scores = scores + torch.full(
                scores.shape[-2:], -10000.0, dtype=scores.dtype, device=scores.device
            ).triu(1)
        if additive is not None:
            scores = scores + additive
        mixed = F.dropout(scores.float().softmax(-1).to(value.dtype), dropout) @ value
    return mixed.transpose(1, 2).flatten(2)
