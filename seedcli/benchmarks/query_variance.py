"""Do the queries say different things? Causal embeddings -> share of variance between the queries
of an image, and effective ranks.

A Q-Former that is trained from scratch with a contrastive loss on its last query only lets all
queries become one, and codes of such a model are one code repeated. These figures see it before
a codebook is trained.
"""

from __future__ import annotations

import torch
from torch import Tensor


def query_variance(causal_embeddings: Tensor) -> dict[str, float]:
    """Causal embeddings [N,Q,D] -> figures of collapse.

    * `between_query_variance`: share (0..1) of the total variance that lies between the queries of
      an image. Queries that differ by a constant only, the same for every image, count here.
    * `between_query_variance_centered`: the same after each query's mean over images is taken off,
      so that constants no longer count.
    * `effective_rank`: exp(entropy) of the spectrum of the covariance of all N x Q embeddings (Roy
      and Vetterli, 2007), at most D.
    * `effective_rank_per_image`: the same over the Q embeddings of one image, centred, as a mean
      over images; at most Q - 1.
    """
    embeddings = causal_embeddings.double()
    flat = embeddings.flatten(0, 1)
    return {
        "between_query_variance": _between(embeddings),
        "between_query_variance_centered": between_query_variance_centered(embeddings),
        "effective_rank": effective_rank(torch.linalg.eigvalsh(torch.cov(flat.T))).item(),
        "effective_rank_per_image": _rank_per_image(embeddings).item(),
    }


def between_query_variance_centered(causal_embeddings: Tensor) -> float:
    """Causal embeddings [N,Q,D] -> share (0..1) of variance between the queries of an image, each
    query's mean taken off.
    """
    return _between(causal_embeddings - causal_embeddings.mean(dim=0, keepdim=True))


def effective_rank(spectrum: Tensor) -> Tensor:
    """Eigenvalues of a covariance [..., n], negative rounding errors allowed -> exp(entropy
    of their shares) [...].
    """
    spectrum = spectrum.clamp_min(0)
    shares = spectrum / spectrum.sum(dim=-1, keepdim=True).clamp_min(
        torch.finfo(spectrum.dtype).tiny
    )
    return torch.exp(torch.special.entr(shares).sum(dim=-1))


def _between(embeddings: Tensor) -> float:
    total = (embeddings - embeddings.mean(dim=(0, 1), keepdim=True)).square().sum()
    within_image = (embeddings - embeddings.mean(dim=1, keepdim=True)).square().sum()
    return (within_image / total.clamp_min(torch.finfo(total.dtype).tiny)).item()


def _rank_per_image(embeddings: Tensor) -> Tensor:
    centred = embeddings - embeddings.mean(dim=1, keepdim=True)
    return effective_rank(torch.linalg.eigvalsh(centred @ centred.transpose(1, 2))).mean()
