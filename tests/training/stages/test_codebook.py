"""Stage II on tiny weights: starts, the two rules, revival, collapse, prefixes, cached
features, exact resume.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from seedcli.data.mixtures.pairs import Mixture, Pair
from seedcli.errors import NoSpaceError, NumericalError, RecipeError
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.recipe.pictures import OptimizationSection, ParallelSection, RunSection
from seedcli.recipe.tokenizer import CodebookLearningSection, CodebookLossSection
from seedcli.training.ranks import Ranks
from seedcli.training.stage import train_stage
from seedcli.training.stages.codebook import CodebookStage
from seedcli.training.stages.features import CachedFeatures, StreamedFeatures

LEARNING = {
    "start": "k-means",
    "start_vectors": 512,
    "rule": "ema",
    "ema_decay": 0.9,
    "revival_usage": 0.03,
    "collapse_perplexity": 0.0,
    "collapse_after_steps": 0,
}
LOSSES = {
    "commitment_weight": 1.0,
    "codebook_weight": 1.0,
    "reconstruction": "cosine",
    "reconstruction_weight": 2.0,
    "generation_weight": 0.5,
    "prefix_share": 0.0,
}


class Wandering:
    """Features that are a pure function of the step, with more structure than the
    tiny codebook has codes.
    """

    def prepare(self, folder) -> None:
        pass

    def batch(self, step: int, *, batch_size: int, rows: slice) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        causal_embeddings = torch.randn(batch_size, 32, 96, generator=generator)
        return {
            "causal_embeddings": causal_embeddings[rows],
            "target_embeddings": causal_embeddings[rows].mean(1)[:, :64],
        }

    def features(self, batch):
        return batch["causal_embeddings"], batch["target_embeddings"]


def build(folder: Path, *, features=None, learning=None, losses=None, saved=None) -> CodebookStage:
    tokenizer = load_seed_model(locate(str(folder)), text_branch=True)
    tokenizer.load_state_dict(
        {name: tensor.clone() for name, tensor in tokenizer.state_dict().items()}, assign=True
    )
    torch.manual_seed(0)
    stage = CodebookStage(
        tokenizer,
        features=features or Wandering(),
        learning=CodebookLearningSection(**LEARNING | (learning or {})),
        losses=CodebookLossSection(**LOSSES | (losses or {})),
        batch_size=8,
        seed=0,
        save=lambda trained, target: saved.append(trained) if saved is not None else None,
    )
    stage.prepare(folder)
    return stage


def test_only_codebook_and_decoder_train_and_nothing_frozen_gets_a_gradient(tiny_tokenizer_folder):
    stage = build(tiny_tokenizer_folder, learning={"rule": "gradient"})
    stage.losses(stage.batch(0))["loss"].backward()
    names = {
        name.split(".")[1]
        for name, parameter in stage.model.named_parameters()
        if parameter.grad is not None
    }
    assert names == {"codebook", "decoder"}
    assert all(parameter.grad is None for parameter in stage.model.tokenizer.qformer.parameters())


def test_too_few_code_inputs_are_refused_before_they_are_computed(tiny_tokenizer_folder):
    with pytest.raises(RecipeError, match="start_vectors is 63: k-means needs one for each of 64"):
        build(tiny_tokenizer_folder, learning={"start_vectors": 63})


@torch.no_grad()
def test_k_means_starts_at_centres_of_code_inputs(tiny_tokenizer_folder):
    # as many as codes: each is a centre
    stage = build(tiny_tokenizer_folder, learning={"start_vectors": 64})
    codebook = stage.model.tokenizer.codebook
    code_inputs = codebook.code_inputs(stage.batch(0)["causal_embeddings"]).flatten(0, 1)[:64]
    distances = (code_inputs[:, None] - codebook.embedding).norm(dim=-1)
    assert float(distances.min(1).values.max()) < 1e-4
    uniform = build(
        tiny_tokenizer_folder, learning={"start": "uniform"}
    ).model.tokenizer.codebook.embedding
    assert float(uniform.abs().max()) <= 1 / 64 and float(uniform.std()) == pytest.approx(
        1 / 64 / 3**0.5, rel=0.05
    )


def test_ema_moves_codes_to_the_mean_of_their_inputs(tiny_tokenizer_folder):
    stage = build(tiny_tokenizer_folder, learning={"ema_decay": 0.0, "revival_usage": 0.0})
    stage.losses(stage.batch(0))
    code_inputs, codes = stage._last
    stage.after_step(1)
    stage.losses(stage.batch(1))  # takes the averages over
    for code in codes.unique().tolist():
        mean = code_inputs[codes == code].mean(0)
        torch.testing.assert_close(
            stage.model.tokenizer.codebook.embedding[code], mean, atol=1e-5, rtol=0
        )


def test_dead_codes_are_revived_at_code_inputs(tiny_tokenizer_folder):
    stage = build(tiny_tokenizer_folder, learning={"ema_decay": 0.5, "revival_usage": 0.5})
    with torch.no_grad():
        stage.model.ema_sum[:32] = 1e3  # far from every input
    for step in range(6):
        stage.losses(stage.batch(step))
        health = stage.after_step(step + 1)
    assert float(stage.model.tokenizer.codebook.embedding.abs().max()) < 100
    assert health["codebook_usage"] > 0.9


def test_a_collapsed_codebook_is_an_error_with_advice(tiny_tokenizer_folder):
    stage = build(
        tiny_tokenizer_folder,
        learning={"rule": "gradient", "start": "uniform", "collapse_perplexity": 0.2},
    )
    with torch.no_grad():
        stage.model.tokenizer.codebook.embedding[2:] = 1e3
    stage.losses(stage.batch(0))
    with pytest.raises(NumericalError, match="perplexity") as caught:
        stage.after_step(1)
    assert "k-means" in caught.value.remedy and caught.value.exit_code == 5


def test_health_figures(tiny_tokenizer_folder):
    stage = build(tiny_tokenizer_folder)
    stage.losses(stage.batch(0))
    health = stage.after_step(1)
    counts = torch.bincount(stage._last[1].flatten(), minlength=64).double()
    shares = counts / counts.sum()
    assert health["codebook_usage"] == pytest.approx(float((counts > 0).double().mean()))
    assert health["codebook_perplexity"] == pytest.approx(
        float(torch.special.entr(shares).sum().exp()), rel=1e-4
    )
    # 8 pictures hold 3 bits
    assert (
        len(health["position_entropy_bits"]) == 32 and max(health["position_entropy_bits"]) <= 3.01
    )


def test_prefixes_replace_only_the_tail_by_the_position_mean(tiny_tokenizer_folder):
    stage = build(tiny_tokenizer_folder, losses={"prefix_share": 0.999})
    mean = stage.model.tokenizer.codebook.position_mean
    mean.fill_(7.0)
    vectors = torch.zeros(64, 32, 32)
    torch.manual_seed(0)
    cut = stage._cut_prefixes(vectors)
    kept = (cut[:, :, 0] == 0).sum(1)
    assert int(kept.min()) >= 1 and int(kept.max()) <= 32 and len(kept.unique()) > 15
    for row, count in zip(cut, kept.tolist(), strict=True):
        assert (row[:count] == 0).all() and (row[count:] == 7).all()


class Coloured:
    """Sixteen pictures, each of one colour."""

    def __len__(self) -> int:
        return 16

    def read(self, index, rng) -> Pair:
        import io

        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (56, 56), (index * 16, 255 - index * 16, 128)).save(file, "PNG")
        return Pair(file.getvalue(), str(index))


def test_cached_features_equal_streamed_ones_and_are_written_once(
    tiny_tokenizer_folder, tmp_path, tiny_config
):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)))
    calls = []

    @torch.no_grad()
    def frozen(pixels):
        calls.append(len(pixels))
        causal_embeddings = tokenizer.causal_embeddings(pixels)
        return causal_embeddings, causal_embeddings.mean(1)[:, :64]

    pairs = Mixture([(Coloured(), 1.0)], seed=1, preprocess=tiny_config.preprocess.codes)
    settings = {"key": {"a": 1}, "num_views": 16, "batch_size": 6, "seed": 0}
    cached = CachedFeatures(frozen, pairs, **settings)
    cached.prepare(tmp_path)
    size_bytes = sum(file.stat().st_size for file in tmp_path.rglob("*.npy"))
    assert calls == [6, 6, 4] and size_bytes > 16 * 32 * 96 * 2
    CachedFeatures(frozen, pairs, **settings).prepare(tmp_path)
    assert len(calls) == 3
    one_pass = torch.cat(
        [
            cached.batch(step, batch_size=4, rows=slice(0, 4))["causal_embeddings"]
            for step in range(4)
        ]
    )
    streamed = StreamedFeatures(frozen, pairs)
    fresh = torch.cat(
        [
            streamed.features(streamed.batch(step, batch_size=4, rows=slice(0, 4)))[0]
            for step in range(4)
        ]
    )
    order = torch.cdist(one_pass.flatten(1), fresh.flatten(1)).argmin(1)
    assert sorted(order.tolist()) == list(range(16))
    # stored in half precision
    torch.testing.assert_close(one_pass, fresh[order], atol=2e-3, rtol=1e-3)


def test_an_interrupted_cache_goes_on_where_it_stopped(
    tiny_tokenizer_folder, tmp_path, tiny_config
):
    pairs = Mixture([(Coloured(), 1.0)], seed=1, preprocess=tiny_config.preprocess.codes)
    calls = []

    def frozen(pixels):
        calls.append(len(pixels))
        if len(calls) == 61:
            raise KeyboardInterrupt
        return pixels[:, :1, :2, 0], pixels[:, 0, 0, :4]

    settings = {"key": {}, "num_views": 70, "batch_size": 1, "seed": 0}
    with pytest.raises(KeyboardInterrupt):
        CachedFeatures(frozen, pairs, **settings).prepare(tmp_path)
    CachedFeatures(frozen, pairs, **settings).prepare(tmp_path)
    assert len(calls) == 61 + 70 - 50  # fifty batches had been marked as done


def test_a_cache_says_what_was_left_out_and_takes_its_space_before_it_is_mapped(
    tmp_path, tiny_config
):
    class Spotted(Coloured):
        def read(self, index, rng):
            return Pair(None, "none") if index == 3 else super().read(index, rng)

    pairs = Mixture([(Spotted(), 1.0)], seed=1, preprocess=tiny_config.preprocess.codes)
    settings = {"key": {}, "batch_size": 4, "seed": 0}

    def frozen(pixels):
        return pixels[:, :1, :40, 0], pixels[:, 0, 0, :4]

    cached = CachedFeatures(frozen, pairs, num_views=60, **settings)
    left_out = cached.prepare(tmp_path)
    assert set(left_out[0]) == {"rows", "has no picture"} and left_out[0]["rows"] > 60
    again = CachedFeatures(frozen, pairs, num_views=60, **settings)
    assert again.prepare(tmp_path) == left_out
    for file in again._paths():
        file_facts = file.stat()
        assert file_facts.st_blocks * 512 >= file_facts.st_size  # no holes
        file.unlink()  # whoever removes an array to save space gets it anew
    assert CachedFeatures(frozen, pairs, num_views=60, **settings).prepare(tmp_path) == left_out

    # a limit on the size of a file stands for a disk without room
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(NoSpaceError, match="no space left in .*features-"):
            CachedFeatures(frozen, pairs, num_views=600, **settings).prepare(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("rule", ["ema", "gradient"])
def test_resume_is_exact(tiny_tokenizer_folder, tmp_path, rule):
    optimization = OptimizationSection(
        steps=6,
        batch_size=8,
        learning_rate=1e-3,
        min_learning_rate=1e-5,
        warmup_steps=1,
        schedule="cosine",
        weight_decay=0.05,
        betas=(0.9, 0.98),
        adam_epsilon=1e-8,
        gradient_clip=1.0,
    )
    run = RunSection(checkpoint_every_steps=3, log_every_steps=1)
    settings = {
        "seed": 3,
        "optimization": optimization,
        "parallel": ParallelSection(device="cpu"),
        "run": run,
    }

    def trained(folder: Path, *, stop_after: int | None = None, resume: bool = False):
        saved = []
        stage = build(
            tiny_tokenizer_folder,
            learning={"rule": rule},
            losses={"prefix_share": 0.3},
            saved=saved,
        )
        if stop_after is not None:
            after_step = stage.after_step

            def stopping(step):
                if step > stop_after:
                    raise RuntimeError("killed")
                return after_step(step)

            stage.after_step = stopping
        train_stage(stage, folder=folder, resume=resume, **settings)
        return {name: tensor.clone() for name, tensor in saved[0].state_dict().items()}

    straight = trained(tmp_path / "straight")
    with pytest.raises(RuntimeError, match="killed"):
        trained(tmp_path / "broken", stop_after=4)
    resumed = trained(tmp_path / "broken", resume=True)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_ranks_split_a_batch():
    assert Ranks(1, 2).rows(8) == slice(4, 8)
