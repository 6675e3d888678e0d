"""`SeedModel`: joins the parts, pixels -> codes -> generation embedding."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from seedcli.errors import NumericalError
from seedcli.models.visual.codebook import Codebook
from seedcli.models.visual.config import Numerics, SeedModelConfig
from seedcli.models.visual.generation import CodeDecoder
from seedcli.models.visual.layers import LayerNorm
from seedcli.models.visual.qformer import QFormer, TextBranch
from seedcli.models.visual.vision import VisionTransformer


class SeedModel(nn.Module):
    """The visual tokenizer.

    Attributes:
        config: Its configuration, preprocessing included.
        fingerprint: Identifies what its codes mean; empty until weights are loaded.
        compute_dtype: Dtype of the arithmetic before the codebook; weights may be
            stored in another one.
        text_branch: Words for retrieval and stage I; None when not loaded.
    """

    def __init__(self, config: SeedModelConfig, *, text_branch: bool = False):
        super().__init__()
        width, num_queries = config.qformer.width, config.qformer.num_queries
        self.config = config
        self.fingerprint = ""
        self.compute_dtype = torch.float32
        self.vision = VisionTransformer(config.vision)
        self.vision_norm = LayerNorm(config.vision.width, eps=1e-5)
        self.qformer = QFormer(config.qformer, config.vision.width)
        self.codebook = Codebook(config.codebook, width, num_queries)
        self.decoder = CodeDecoder(
            config.generation,
            code_dim=config.codebook.code_dim,
            width=width,
            num_queries=num_queries,
        )
        self.text_branch = TextBranch(config.qformer) if text_branch else None

    @property
    def name(self) -> str:
        """Name of the preset or of the trained model."""
        return self.config.name

    def set_numerics(self, numerics: Numerics, dtype: torch.dtype = torch.float32) -> None:
        """Chooses the arithmetic: `dtype` up to the codebook and fp32 in it, or fp16 everywhere as
        the official script on a GPU.

        `official-fp16` also rounds stored weights to fp16, as the official loader does. Its casts
        are tested on CPU; on a GPU it has not been run.
        """
        self.codebook.numerics = numerics
        if numerics == "official-fp16":
            self.compute_dtype = torch.float16
            self.half()
        else:
            self.compute_dtype = dtype

    def features(self, pixels: Tensor) -> Tensor:
        """pixels [B,3,S,S] -> normalised visual features [B,P,V]."""
        return self.vision_norm(self.vision(pixels.to(self.compute_dtype)))

    def causal_embeddings(self, pixels: Tensor) -> Tensor:
        """pixels [B,3,S,S] -> [B,Q,D]."""
        return self.qformer(self.features(pixels))

    def code_inputs(self, causal_embeddings: Tensor) -> Tensor:
        """[B,Q,D] -> [B,Q,E]."""
        return self.codebook.code_inputs(causal_embeddings)

    def codes(self, code_inputs: Tensor) -> Tensor:
        """[B,Q,E] -> codes [B,Q] int64.

        Raises:
            NumericalError: NaN or infinity, of which the nearest code would be any.
        """
        return self.codebook.codes(self._finite(code_inputs, "code inputs"))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B,3,S,S] fp32, normalised -> codes [B,Q] int64 in 0..K-1."""
        return self.codes(self.code_inputs(self.causal_embeddings(pixels)))

    @torch.no_grad()
    def encode_unchecked(self, pixels: Tensor) -> Tensor:
        """As `encode`, but an image with NaN or infinity gets codes of -1: a look at the numbers
        would have the host wait for the GPU. Whoever fetches the codes calls `check_encoded`.
        """
        code_inputs = self.code_inputs(self.causal_embeddings(pixels))
        finite = code_inputs.isfinite().flatten(1).all(1, keepdim=True)
        return self.codebook.codes(code_inputs).masked_fill(~finite, -1)

    def check_encoded(self, codes: Tensor) -> Tensor:
        """Codes of `encode_unchecked`, on the host -> the same.

        Raises:
            NumericalError: An image had NaN or infinity.
        """
        if bool((codes < 0).any()):
            self._raise_not_finite("code inputs")
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,Q] -> generation embedding [B,G].

        Raises:
            ValueError: Codes of the wrong shape, type or range.
        """
        return self.decode_vectors(self.codebook.code_vectors(codes))

    @torch.no_grad()
    def decode_vectors(self, code_vectors: Tensor) -> Tensor:
        """Code vectors [B,Q,E] -> generation embedding [B,G]."""
        return self.decoder.generate(code_vectors.to(self.compute_dtype))

    @torch.no_grad()
    def reconstruct(self, codes: Tensor) -> Tensor:
        """codes [B,Q] -> reconstructed causal embeddings [B,Q,D]: the feature that
        retrieval by codes uses.
        """
        return self.decoder.reconstruct(self.codebook.code_vectors(codes).to(self.compute_dtype))

    def image_features(self, causal_embeddings: Tensor) -> Tensor:
        """[B,Q,D] -> [B,Q,F], L2-normalised; needs the text branch."""
        features = self._text_branch().image_features(causal_embeddings)
        return self._finite(features, "image features")

    def text_features(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Ids [B,T], mask [B,T] -> [B,F], L2-normalised; needs the text branch."""
        features = self._text_branch().text_features(self.qformer, text_ids, text_mask)
        return self._finite(features, "text features")

    def _finite(self, values: Tensor, what: str) -> Tensor:
        if self.training or bool(values.isfinite().all()):  # training has a guard of its own
            return values
        self._raise_not_finite(what)

    def _raise_not_finite(self, what: str) -> NoReturn:
        raise NumericalError(
            f"{self.name} computes {what} that are NaN or infinite",
            remedy="its weights are damaged (seed models verify), or overflow in half precision "
            "(--dtype float32)",
        )

    def _text_branch(self) -> TextBranch:
        if self.text_branch is None:
            raise ValueError(
                "this SeedModel was built without its text branch; load it with text_branch=True"
            )
        return self.text_branch
