"""The visual tokenizer in its number formats: codes, pictures a second, offload."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from seedcli.models.visual.config import Numerics
from seedcli.models.weights.locate import ModelFiles
from seedcli.models.weights.random_model import build_random_model
from seedcli.workflows.pictures import SeedTokenizer
from tools.bench_gpu.figures import Bench

RANDOM = "random weights: the order of magnitude at most"
# huggingface/pytorch-image-models, results/: eva_giant_patch14_224, half precision, batches of
# 1,024 (2,048 on the last); @5c33776 benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv, @7479d45
# ...-rtx3090.csv, @90cae8c benchmark-infer-bf16-nchw-pt291-cu130-pro6000maxq-dynamo.csv (compiled)
TIMM_EVA_G = {"RTX 3090": 119.09, "RTX 4090": 229.92, "RTX PRO 6000 Max-Q, compiled": 387.88}


class Pictures:
    """Figures of the visual tokenizer."""

    def __init__(self, bench: Bench):
        self.bench, self.size = bench, bench.size

    @cached_property
    def squares(self) -> np.ndarray:
        """Smooth pictures with noise, uint8 [N,3,S,S]."""
        size_px = self.size.tokenizer.preprocess.codes.image_size_px
        rng, found = np.random.default_rng(0), []
        for _ in range(self.size.pictures):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC))
            noisy = smooth + rng.normal(0, 8, smooth.shape)
            found.append(noisy.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
        return np.stack(found)

    def tokenizer(
        self, dtype: str, numerics: Numerics = "default", *, offload: bool = False
    ) -> SeedTokenizer:
        """With the same random weights in every number format."""
        device = str(self.bench.device)
        tokenizer = SeedTokenizer(
            ModelFiles("random", None, (), self.size.tokenizer),
            device=device,
            dtype=dtype,
            numerics=numerics,
            offload=offload,
        )
        # drawn on the CPU's generator they would take a minute; on one device they are the same
        model = build_random_model(
            self.size.tokenizer, device=device, dtype=dtype, numerics=numerics
        )
        tokenizer.model = model.to("cpu") if offload else model
        return tokenizer

    def codes(self) -> dict[str, Any]:
        """Share of codes that are other ones than in fp32, by number format."""
        batch = max(self.size.batch_sizes)

        def of(dtype: str, numerics: Numerics = "default") -> torch.Tensor:
            tokenizer = self.tokenizer(dtype, numerics)
            parts = (
                self.squares[start : start + batch] for start in range(0, len(self.squares), batch)
            )
            return torch.cat(list(tokenizer.encode_ahead(parts, batch)))

        reference = of("float32")
        formats: tuple[tuple[str, str, Numerics], ...] = (
            ("bfloat16", "bfloat16", "default"),
            ("float16", "float16", "default"),
            ("official-fp16", "float16", "official-fp16"),
        )
        shares = {
            name: round(float((of(dtype, numerics) != reference).float().mean()), 5)
            for name, dtype, numerics in formats
        }
        return {
            "differ_from_fp32": shares,
            "pictures": len(self.squares),
            "different_codes": int(reference.unique().numel()),
            "label": RANDOM,
        }

    def speed(self, dtype: str, numerics: Numerics = "default") -> dict[str, Any]:
        """Pictures a second by batch size: copied from the host, encoded, codes fetched."""
        tokenizer, found = self.tokenizer(dtype, numerics), {}
        for batch in self.size.batch_sizes:
            squares = np.resize(self.squares, (batch, *self.squares.shape[1:]))
            passes = tokenizer.encode_ahead(itertools.repeat(squares), batch)
            found[str(batch)] = round(self.bench.rate(lambda passes=passes: len(next(passes))), 2)
        return {"images_per_s": found, "timm_eva_g_images_per_s": TIMM_EVA_G}

    def offload(self) -> dict[str, Any]:
        """One picture whose network waits in the host's memory, against one that stays."""
        found = {}
        for name, offload in (("stays", False), ("offloaded", True)):
            tokenizer = self.tokenizer("float16", offload=offload)
            rate = self.bench.rate(
                lambda tokenizer=tokenizer: len(tokenizer.encode_squares(self.squares[:1], 1))
            )
            found[f"{name}_s_per_image"] = round(1 / rate, 4)
            if self.bench.device.type == "cuda":
                torch.cuda.empty_cache()
                found[f"{name}_gpu_gb_between"] = round(torch.cuda.memory_allocated() / 1e9, 2)
            del tokenizer
        return found
