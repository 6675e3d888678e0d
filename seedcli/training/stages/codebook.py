"""Stage II: the codebook learns to say what the causal embeddings say, and the generation embedding
what the unCLIP image encoder says.

ViT, Q-Former and target encoder are frozen and in eval mode. Differs from source: the official
frozen Q-Former kept its dropout on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F

from seedcli.data.documents.left_out import Tally
from seedcli.errors import NumericalError, RecipeError, require_package
from seedcli.models.visual.codebook import codebook_loss, commitment_loss, straight_through
from seedcli.models.visual.model import SeedModel
from seedcli.recipe.tokenizer import CodebookLearningSection, CodebookLossSection
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage
from seedcli.training.stages.features import CachedFeatures, StreamedFeatures

_HISTOGRAM_DECAY = 0.98  # a code counts as used for about 230 updates after its last use
_USED = 0.01
_POSITION_MEAN_DECAY = 0.99


class _StageModel(nn.Module):
    """The tokenizer and what moves without gradients: code histogram, and the
    averages of the ema rule.
    """

    def __init__(self, tokenizer: SeedModel):
        super().__init__()
        num_codes, code_dim = tokenizer.codebook.embedding.shape
        self.tokenizer = tokenizer
        self.register_buffer(
            "histogram", torch.zeros(tokenizer.config.qformer.num_queries, num_codes)
        )
        self.register_buffer("ema_size", torch.ones(num_codes))
        self.register_buffer("ema_sum", torch.zeros(num_codes, code_dim))


class CodebookStage(Stage):
    """Trains the codebook, its encoder, and the code decoder.

    Args:
        tokenizer: Of stage I.
        features: Causal and target embeddings, cached or streamed.
        batch_size: Pictures of a global batch.
        save: Writes the finished tokenizer to a folder.
    """

    name = "codebook"

    def __init__(
        self,
        tokenizer: SeedModel,
        *,
        features: CachedFeatures | StreamedFeatures,
        learning: CodebookLearningSection,
        losses: CodebookLossSection,
        batch_size: int,
        seed: int,
        save: Callable[[SeedModel, Path], None],
        ranks: Ranks = Ranks(),
    ):
        if learning.start == "k-means":
            require_package("sklearn", extra="train", needed_by='codebook.start "k-means"')
        self.model = _StageModel(tokenizer)
        self._features, self._learning, self._weights = features, learning, losses
        self._batch_size, self._save, self._ranks = batch_size, save, ranks
        tokenizer.requires_grad_(False)
        tokenizer.codebook.encoder.requires_grad_(True)
        tokenizer.decoder.requires_grad_(True)
        tokenizer.codebook.embedding.requires_grad_(learning.rule == "gradient")
        self._seed = seed
        self._last: tuple[Tensor, Tensor] | None = None

    def prepare(self, folder: Path) -> Tally:
        """Computes the cached features and the codebook's start; also on resume, where the
        checkpoint then overrules it.

        Returns:
            What was left out of the cached features.
        """
        num_codes = self.model.tokenizer.codebook.config.num_codes
        if self._learning.start == "k-means" and self._learning.start_vectors < num_codes:
            raise RecipeError(
                f"codebook.start_vectors is {self._learning.start_vectors}: k-means needs one for "
                f"each of {num_codes} codes, and many more to find good centres",
                remedy=f"codebook.start_vectors={16 * num_codes}",
            )
        left_out = self._features.prepare(folder)
        embedding = self.model.tokenizer.codebook.embedding
        match self._learning.start:
            case "k-means":
                self._start_from_centres()
            case "uniform":
                bound = 1 / len(embedding)
                embedding.data.uniform_(
                    -bound,
                    bound,
                    generator=torch.Generator(embedding.device).manual_seed(self._seed),
                )
        self.model.ema_sum.copy_(self.model.tokenizer.codebook.embedding.detach())
        return left_out

    @torch.no_grad()
    def _start_from_centres(self) -> None:
        from sklearn.cluster import KMeans

        codebook = self.model.tokenizer.codebook
        size = self._batch_size
        found: list[Tensor] = []
        while sum(len(part) for part in found) < self._learning.start_vectors:
            batch = self._features.batch(len(found), batch_size=size, rows=slice(0, size))
            causal_embeddings, _ = self._features.features(batch)
            code_inputs = codebook.code_inputs(causal_embeddings.to(codebook.embedding.device))
            found.append(code_inputs.flatten(0, 1).cpu())
        inputs = torch.cat(found)[: self._learning.start_vectors]
        search = KMeans(
            codebook.config.num_codes,
            n_init=1,
            init="random",
            max_iter=30,
            random_state=self._seed,
        )
        centres = search.fit(inputs.float().numpy()).cluster_centers_
        codebook.embedding.copy_(torch.from_numpy(centres))

    def batch(self, step: int) -> dict[str, Any]:
        return self._features.batch(
            step, batch_size=self._batch_size, rows=self._ranks.rows(self._batch_size)
        )

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        tokenizer, weights = self.model.tokenizer, self._weights
        codebook = tokenizer.codebook
        causal_embeddings, target_embeddings = self._features.features(batch)
        if self._learning.rule == "ema":
            codebook.embedding.copy_(self.model.ema_sum / self.model.ema_size[:, None])
        code_inputs = codebook.code_inputs(causal_embeddings)
        codes = codebook.codes(code_inputs)
        code_vectors = codebook.code_vectors(codes)
        quantised = straight_through(code_inputs, code_vectors)
        reconstruction = tokenizer.decoder.reconstruct(quantised)
        generation_embedding = tokenizer.decoder.generate(self._cut_prefixes(quantised))
        match weights.reconstruction:
            case "cosine":
                reconstruction_loss = (
                    1 - F.cosine_similarity(reconstruction, causal_embeddings, dim=-1).mean()
                )
            case "mse":
                reconstruction_loss = F.mse_loss(reconstruction, causal_embeddings)
        parts = {
            "commitment": commitment_loss(code_inputs, code_vectors),
            "reconstruction": reconstruction_loss,
            "generation": F.mse_loss(generation_embedding, target_embeddings),
        }
        loss = (
            weights.commitment_weight * parts["commitment"]
            + weights.reconstruction_weight * parts["reconstruction"]
            + weights.generation_weight * parts["generation"]
        )
        if self._learning.rule == "gradient":
            parts["codebook"] = codebook_loss(code_inputs, code_vectors)
            loss = loss + weights.codebook_weight * parts["codebook"]
        self._last = code_inputs.detach().float(), codes
        return {"loss": loss} | {name: value.detach() for name, value in parts.items()}

    def _cut_prefixes(self, code_vectors: Tensor) -> Tensor:
        """Replaces the last codes of a share of the pictures by their position's mean, so that
        prefixes decode to something.
        """
        if not self._weights.prefix_share:
            return code_vectors
        count, num_queries, _ = code_vectors.shape
        kept = torch.randint(1, num_queries, (count,), device=code_vectors.device)
        kept[torch.rand(count, device=kept.device) >= self._weights.prefix_share] = num_queries
        inside = torch.arange(num_queries, device=kept.device) < kept[:, None]
        return torch.where(
            inside[:, :, None], code_vectors, self.model.tokenizer.codebook.position_mean
        )

    @torch.no_grad()
    def after_step(self, step: int) -> dict[str, Any]:
        code_inputs, codes = self._last
        codebook, model = self.model.tokenizer.codebook, self.model
        num_codes = codebook.config.num_codes
        used_BQK = F.one_hot(codes, num_codes)
        counts_QK = self._sum(used_BQK.sum(0).float())
        model.histogram.mul_(_HISTOGRAM_DECAY).add_(counts_QK)
        mean_QE = self._sum(F.embedding(codes, codebook.embedding).mean(0)) / self._ranks.world
        codebook.position_mean.lerp_(mean_QE, 1.0 if step == 1 else 1 - _POSITION_MEAN_DECAY)
        if self._learning.rule == "ema":
            self._move_code_vectors(code_inputs.flatten(0, 1), codes.flatten(), counts_QK.sum(0))
        return self._health(step)

    def _move_code_vectors(self, code_inputs: Tensor, codes: Tensor, counts: Tensor) -> None:
        model, learning = self.model, self._learning
        sums = self._sum(torch.zeros_like(model.ema_sum).index_add_(0, codes, code_inputs))
        model.ema_size.lerp_(counts, 1 - learning.ema_decay)
        model.ema_sum.lerp_(sums, 1 - learning.ema_decay)
        even_use = counts.sum() / len(counts)
        dead = model.ema_size < learning.revival_usage * even_use
        if dead.any():
            chosen = code_inputs[
                torch.randint(len(code_inputs), (int(dead.sum()),), device=code_inputs.device)
            ].contiguous()
            if self._ranks.world > 1:
                torch.distributed.broadcast(chosen, src=0)
            model.ema_size[dead] = even_use
            model.ema_sum[dead] = chosen * even_use
        model.ema_size.clamp_min_(1e-5)

    def _health(self, step: int) -> dict[str, Any]:
        histogram = self.model.histogram
        entropy_Q = _entropy(histogram)
        perplexity = float(_entropy(histogram.sum(0)).exp())
        num_codes, learning = histogram.shape[1], self._learning
        if (
            step > learning.collapse_after_steps
            and perplexity < learning.collapse_perplexity * num_codes
        ):
            raise NumericalError(
                f"the codebook has collapsed: perplexity {perplexity:.1f} of {num_codes} codes at "
                f"step {step}, expected at least {learning.collapse_perplexity * num_codes:.1f}",
                remedy='set codebook.start = "k-means", codebook.rule = "ema", '
                "codebook.revival_usage = 0.03; or a lower learning rate",
            )
        return {
            "codebook_usage": float((histogram.sum(0) > _USED).float().mean()),
            "codebook_perplexity": perplexity,
            "position_entropy_bits": [
                round(value, 3) for value in (entropy_Q / math.log(2)).tolist()
            ],
        }

    def _sum(self, values: Tensor) -> Tensor:
        if self._ranks.world > 1:
            torch.distributed.all_reduce(values)
        return values

    def save(self, folder: Path) -> None:
        if self._learning.rule == "ema":
            self.model.tokenizer.codebook.embedding.data.copy_(
                self.model.ema_sum / self.model.ema_size[:, None]
            )
        self._save(self.model.tokenizer, folder)


def _entropy(counts: Tensor) -> Tensor:
    """Counts [...,K] -> entropy [...] in nats."""
    shares = counts / counts.sum(-1, keepdim=True).clamp_min(1e-12)
    return torch.special.entr(shares).sum(-1)
