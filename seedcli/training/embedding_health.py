"""What an embedding says of the pictures behind it: how many directions it uses, and how much of
their latents a linear map can tell from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-3  # of the embeddings' mean variance; keeps dead directions from blowing up


def effective_rank(embeddings: Tensor) -> float:
    """Embeddings [N,G] -> participation ratio of their covariance's eigenvalues,
    (sum of values)^2 / sum of squares: G where all directions vary alike, 1 where one does.
    """
    covariance = torch.cov(embeddings.double().T)
    return float(covariance.trace() ** 2 / covariance.square().sum())


class LinearMap:
    """Least squares map from embeddings [N,G] to latents [N,L], with a constant."""

    def __init__(self, embeddings: Tensor, latents: Tensor):
        embeddings, latents = embeddings.double(), latents.flatten(1).double()
        self._mean, self._latent_mean = embeddings.mean(0), latents.mean(0)
        centred = embeddings - self._mean
        gram = centred.T @ centred
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        self._weights = torch.linalg.solve(gram, centred.T @ (latents - self._latent_mean))

    def explained(self, embeddings: Tensor, latents: Tensor) -> float:
        """Share of the latents' variance that the map tells on other pictures: 1 is all, 0 is no
        more than their mean.
        """
        predicted = (embeddings.double() - self._mean) @ self._weights + self._latent_mean
        return explained_variance(predicted, latents.flatten(1).double())


def explained_variance(predicted: Tensor, latents: Tensor) -> float:
    """1 - squared error / variance about the mean picture, both [N,L]."""
    spread = (latents - latents.mean(0)).square().sum()
    return float(1 - (predicted - latents).square().sum() / spread)
