"""The language model: generation, a training step, loading in 16, 8 and 4 bits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.cost import DEVICES, Adapter, count_parameters, training_flops
from seedcli.models.language.generate import SamplingSettings, SeedLlama
from seedcli.models.language.load import Quantization, load_language_model
from seedcli.models.language.lora import attach_lora
from seedcli.models.language.seed_llama import build_language_model
from seedcli.models.language.text_tokenizer import extend_text_tokenizer, train_text_tokenizer
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.models.weights.locate_llm import LlmFiles
from seedcli.training.speed import matmul_rate
from tools.bench_gpu.figures import Bench
from tools.bench_gpu.sizes import SEED_2

# What the published pretraining adapts and trains whole: recipes/vicuna7b.toml
ADAPTER = Adapter(
    rank=16,
    targets=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    trained_whole=(
        "embed_tokens",
        "lm_head",
        "input_layernorm",
        "post_attention_layernorm",
        "norm",
    ),
)


class Words:
    """Figures of the language model."""

    def __init__(self, bench: Bench, folder: Path):
        self.bench, self.size, self.folder = bench, bench.size, folder
        self.shape = bench.size.language_model
        self.dtype = torch.bfloat16
        words = [f"{one}{other}" for one in "abcdefghijkl" for other in "aeiou"]
        self.text_tokenizer = extend_text_tokenizer(
            train_text_tokenizer([" ".join(words)] * 20, 400), SEED_2.codebook.num_codes
        )
        self.vocabulary = CodeVocabulary.of(self.text_tokenizer)
        self.facts = LlmFacts(
            name="random-8b",
            visual_tokenizer="seed-2",
            visual_fingerprint=None,
            num_queries=self.vocabulary.num_queries,
            num_codes=self.vocabulary.num_codes,
        )

    def build(self) -> LlamaForCausalLM:
        """Random weights in bfloat16; more rows than the text tokenizer has tokens, as many as the
        published model.
        """
        with torch.device("meta"):
            model = build_language_model(
                self.text_tokenizer,
                hidden_size=self.shape.hidden_size,
                intermediate_size=self.shape.intermediate_size,
                num_layers=self.shape.num_layers,
                num_heads=self.shape.num_heads,
                max_positions=2048,
                rope_theta=10_000.0,
                seed=0,
            ).to(self.dtype)
            model.resize_token_embeddings(self.shape.vocab_size, mean_resizing=False)
        rotary = model.model.rotary_emb
        model = model.to_empty(device=self.bench.device)
        model.model.rotary_emb = type(rotary)(config=model.config).to(self.bench.device)
        generator = torch.Generator(self.bench.device).manual_seed(0)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.02, generator=generator)
            else:
                parameter.data.fill_(1.0)
        return model.eval()

    def generate(self, llm: SeedLlama, rows: int) -> dict[str, Any]:
        """Tokens a second of greedy answers that begin with an image, and the share of the
        device's bandwidth that reading the weights once a step takes.
        """
        prompt = [self.vocabulary.bos, *self.text_tokenizer("abeci " * 20)["input_ids"][1:]]
        settings = SamplingSettings(temperature=0, max_new_tokens=self.size.new_tokens)

        def answer() -> int:
            answers = llm.generate([prompt] * rows, settings, image="first")
            return sum(len(one.ids) for one in answers)

        per_s = self.bench.rate(answer)
        weights_gb = llm.model.get_memory_footprint() / 1e9
        return {
            "rows": rows,
            "tokens_per_s": round(per_s, 2),
            "weights_gb": round(weights_gb, 2),
            "weights_read_gb_per_s": round(per_s / rows * weights_gb, 1),
        }

    def generation(self, rows: int) -> dict[str, Any]:
        """In bfloat16."""
        llm = SeedLlama(self.build(), self.text_tokenizer, self.vocabulary, self.facts)
        return self.generate(llm, rows)

    def training_step(self) -> dict[str, Any]:
        """A step of the published LoRA phase on packed rows, its activations recomputed: time, and
        the share of what this device's matrix products reach that its arithmetic takes.
        """
        size, device = self.size, self.bench.device
        model = attach_lora(
            self.build().train(),
            rank=ADAPTER.rank,
            alpha=32.0,
            dropout=0.05,
            targets=ADAPTER.targets,
            trained_whole=ADAPTER.trained_whole,
        )
        if hasattr(model, "activation_checkpointing_enable"):  # its name since transformers 5.23
            model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
        trained = [one for one in model.parameters() if one.requires_grad]
        for one in trained:
            one.data = one.data.float()  # as the trainer: fp32 master weights under autocast
        optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type == "cuda")
        ids = torch.randint(0, self.shape.vocab_size, (size.rows, size.context), device=device)

        def step() -> int:
            with torch.autocast(device.type, torch.bfloat16):
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return ids.numel()

        per_s = self.bench.rate(step)
        flop = training_flops(
            self.shape,
            "lora",
            ADAPTER,
            attended_tokens=size.context,
            gradient_checkpointing=True,
        )
        reached = matmul_rate(device, "bf16")
        return {
            "tokens_per_s": round(per_s, 1),
            "rows": size.rows,
            "context": size.context,
            "trained_parameters": count_parameters(self.shape, "lora", ADAPTER).trainable,
            "tflops": round(per_s * flop / 1e12, 2),
            "matmul_tflops": round(reached / 1e12, 2),
            "utilisation_of_matmul": round(per_s * flop / reached, 4),
            **self._of_the_data_sheet(per_s * flop),
        }

    def _of_the_data_sheet(self, flop_per_s: float) -> dict[str, Any]:
        if self.bench.device.type != "cuda":
            return {}
        name = torch.cuda.get_device_name(self.bench.device).lower().replace(" ", "")
        kinds = [kind for kind in DEVICES if kind.partition("-")[0] in name]
        if not kinds:
            return {}
        peak = DEVICES[kinds[0]].half_tflops * 1e12
        return {"peak_tflops": peak / 1e12, "utilisation": round(flop_per_s / peak, 4)}

    def save(self) -> dict[str, Any]:
        """The random weights as a folder, which the next figures load."""
        model = self.build()
        model.save_pretrained(self.folder, safe_serialization=True)
        self.text_tokenizer.save_pretrained(self.folder)
        size = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        return {"gb": round(size / 1e9, 2)}

    def loading(self, quantize: Quantization | None) -> dict[str, Any]:
        """Folder -> a model that has answered: seconds, memory, tokens a second."""
        files = LlmFiles("random-8b", self.folder, self.folder, self.facts)
        started = time.perf_counter()
        llm = load_language_model(
            files,
            device=str(self.bench.device),
            dtype="bfloat16",
            quantize=quantize,
        )
        self.bench.wait()
        loaded_s = time.perf_counter() - started
        return {"load_s": round(loaded_s, 2), **self.generate(llm, 1)}
