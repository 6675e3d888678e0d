"""causal embeddings -> codes -> code vectors: the vector quantiser, and the two terms of its loss.

The look-up runs in fp32 whatever the dtype around it: in half precision 0.2-0.6 % of the codes flip
and ties appear (spec of the release).
Source: AILab-CVC/SEED@93b3cf4, models/seed_qformer/qformer_quantizer.py (facts).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedcli.models.visual.config import CodebookConfig, Numerics
from seedcli.models.visual.layers import Linear


class Codebook(nn.Module):
    """Quantises each causal embedding to one of K code vectors.

    Attributes:
        embedding: The codebook [K,E].
        position_mean: Mean code vector of each position over the training images [Q,E]; fills the
            codes that `--codes-only` leaves out. Not part of what codes mean. Published weights
            have none: there every row is the mean of the codebook.
        numerics: `official-fp16` evaluates distances in fp16, as the official script does on a GPU.
    """

    def __init__(self, config: CodebookConfig, width: int, num_queries: int):
        super().__init__()
        self.config = config
        self.numerics: Numerics = "default"
        self.encoder = nn.Sequential(
            Linear(width, width), nn.Tanh(), Linear(width, config.code_dim)
        )
        self.embedding = nn.Parameter(
            torch.empty(config.num_codes, config.code_dim).uniform_(
                -1 / config.num_codes, 1 / config.num_codes
            )
        )
        self.register_buffer("position_mean", torch.zeros(num_queries, config.code_dim))

    def code_inputs(self, causal_embeddings: Tensor) -> Tensor:
        """[B,Q,D] -> [B,Q,E]."""
        return self.encoder(causal_embeddings)

    def distances(self, code_inputs: Tensor) -> Tensor:
        """[B,Q,E] -> squared Euclidean distances to all code vectors [B,Q,K], summed
        in the official order.
        """
        dtype = torch.float16 if self.numerics == "official-fp16" else torch.float32
        with torch.autocast(code_inputs.device.type, enabled=False):
            inputs_BQE, codebook_KE = code_inputs.to(dtype), self.embedding.to(dtype)
            return (
                inputs_BQE.pow(2).sum(-1, keepdim=True)
                + codebook_KE.pow(2).sum(-1)
                - 2 * (inputs_BQE @ codebook_KE.mT)
            )

    @torch.no_grad()
    def codes(self, code_inputs: Tensor) -> Tensor:
        """[B,Q,E] -> nearest code [B,Q] int64; of equally near ones the first."""
        return self.distances(code_inputs).argmin(-1)

    def code_vectors(self, codes: Tensor) -> Tensor:
        """[B,Q] -> [B,Q,E].

        Raises:
            ValueError: `codes` is not [B,Q] integers in 0..K-1. A list of Q bare codes would be
                broadcast silently otherwise.
        """
        if codes.ndim != 2 or codes.dtype.is_floating_point:
            raise ValueError(
                f"codes are {codes.dtype} {tuple(codes.shape)}, expected integers [B, Q]"
            )
        if codes.numel() and not (
            int(codes.min()) >= 0 and int(codes.max()) < self.config.num_codes
        ):
            raise ValueError(
                f"codes range over {int(codes.min())}..{int(codes.max())}, expected "
                f"0..{self.config.num_codes - 1}"
            )
        return F.embedding(codes, self.embedding)


def straight_through(code_inputs: Tensor, code_vectors: Tensor) -> Tensor:
    """[B,Q,E], [B,Q,E] -> [B,Q,E]: the value of the code vectors, the
    gradient of the code inputs.
    """
    return code_inputs + (code_vectors - code_inputs).detach()


def commitment_loss(code_inputs: Tensor, code_vectors: Tensor) -> Tensor:
    """Pulls code inputs to their (fixed) code vectors: mean squared difference over B*Q*E
    elements. Published weight 1.
    """
    return F.mse_loss(code_inputs, code_vectors.detach())


def codebook_loss(code_inputs: Tensor, code_vectors: Tensor) -> Tensor:
    """Pulls code vectors to the (fixed) code inputs, same mean. Published weight 0.25: the release
    swaps VQ-VAE's usual weights.
    """
    return F.mse_loss(code_vectors, code_inputs.detach())
