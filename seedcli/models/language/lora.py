"""LoRA on a language model with the parts that are trained whole beside it, and its verified merge.

New code tokens need embeddings and head rows learned from nothing, so the published set is LoRA
on all seven linear kinds, plus embeddings, head and every norm as they are: 369,512,448
trainable parameters of a 7B model, of which LoRA is 39,976,960. This is phase 1 of
`seed pretrain` and all of `seed instruct`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper, set_peft_model_state_dict
from torch import Tensor, nn

from seedcli.errors import DataError, NumericalError, UsageError
from seedcli.models.weights.adapter import ADAPTER_FILE, LoraAdapter
from seedcli.models.weights.tensors import UNREADABLE, read_tensors, reason

# Largest difference of two logits, as a share of the largest logit, that rounding explains: adding
# B @ A to the weight in fp32 changes the order of summation. Measured over 14 Llamas (2 to 32
# layers, widths 32 to 1024, rank 4 to 64): at most 8e-6. Leaving the last layer's smallest adapter
# out of the merge gave at least 1e-3.
MERGE_TOLERANCE = 1e-4


def untie_embeddings(model: nn.Module) -> bool:
    """Give a model whose head shares the input embedding's matrix a head of its own, equal at
    first; says whether there was one to untie.

    A shared matrix can neither be frozen on one side only nor be trained as two modules.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and head.weight is embedding.weight
    if tied:
        head.weight = nn.Parameter(
            embedding.weight.detach().clone(), requires_grad=embedding.weight.requires_grad
        )
    if tied or model.config.tie_word_embeddings:
        model.config.tie_word_embeddings = False
        model.all_tied_weights_keys = {}
    return tied


def attach_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
    trained_whole: Sequence[str],
) -> PeftModel:
    """Causal language model -> the same with adapters and whole-trained modules; everything else is
    frozen. Changes `model`.

    The model computes what it computed before: adapters start at zero. Tied embeddings are untied
    first. Of a module that is trained whole there is one copy only, in the optimizer and in memory.

    Args:
        model: A Hugging Face causal language model, its vocabulary extended already.
        rank: Of each linear layer's update.
        alpha: The update counts alpha / rank times.
        dropout: On the adapters' input, while training.
        targets: Ends of the names of linear layers that get an adapter.
        trained_whole: Ends of the names of modules that are trained as they are. `norm` means every
            norm whose name ends so.

    Raises:
        UsageError: a name that no module ends with, or that stands in both lists.

    Source: AILab-CVC/SEED@93b3cf4, MultiModalLLM/configs/model/vicuna_7b_lora.yaml. Differs from
    source: the untrained originals of whole-trained modules, which PEFT keeps for switching
    adapters off, are dropped (1.3 GB of a 7B model in fp32).
    """
    _check_names(model, targets, trained_whole)
    untie_embeddings(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        modules_to_save=list(trained_whole) or None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    peft_model = _wrap(model, config)
    for module in peft_model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.original_module = nn.Identity()
    return peft_model


def _wrap(model: nn.Module, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT asks transformers 5.23 for an attribute by its old name
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        return get_peft_model(model, config)


def apply_adapter(model: nn.Module, adapter: LoraAdapter) -> nn.Module:
    """Language model and the adapter that was trained on it -> the changed model, in the dtype that
    it had. Changes `model`.

    Embeddings that the adapter saved whole may have more rows than the base: those of words that
    were added when it was trained.

    Raises:
        DataError: The adapter's weights are unreadable, or fit neither its settings nor the model.
    """
    tensors = read_tensors(adapter.weights)
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name}
    stated = {adapter.settings["r"], *adapter.settings.get("rank_pattern", {}).values()}
    # any other would be built before it is compared
    if ranks != stated:
        raise DataError(
            f"{adapter.weights} has adapters of ranks {sorted(ranks)}, {ADAPTER_FILE} says "
            f"{sorted(stated)}",
            remedy="take both files from one place",
        )
    rows = next((len(each) for name, each in tensors.items() if "embed_tokens.weight" in name), 0)
    if rows > model.config.vocab_size:
        untie_embeddings(model)
        model.resize_token_embeddings(rows, mean_resizing=False)
    try:
        peft_model = _wrap(model, LoraConfig(task_type="CAUSAL_LM", **adapter.settings))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shapes and keys, which are compared below
            found = set_peft_model_state_dict(peft_model, tensors)
    except UNREADABLE as error:
        raise DataError(
            f"the adapter in {adapter.folder} does not fit its base {adapter.base}: "
            f"{reason(error)}",
            remedy=f"see base_model_name_or_path of its {ADAPTER_FILE}",
        ) from error
    absent = [name for name in found.missing_keys if "lora_" in name or "modules_to_save" in name]
    if absent or found.unexpected_keys:
        raise DataError(
            f"the adapter in {adapter.folder} does not fit its base {adapter.base}: missing "
            f"{absent[:3]}, unknown {found.unexpected_keys[:3]}",
            remedy=f"see base_model_name_or_path of its {ADAPTER_FILE}",
        )
    return peft_model.merge_and_unload()


@torch.no_grad()
def merge_lora(peft_model: PeftModel, probe_ids: Tensor) -> tuple[nn.Module, float]:
    """Adapters folded into the weights they stand beside, in fp32 -> (plain trainable model,
    largest logit difference).

    Logits of `probe_ids` are computed before and after. The model becomes fp32 first: in bf16 the
    merge would round the update away.

    Args:
        peft_model: What `attach_lora` made, parameters whole (not sharded over
            ranks); it is used up.
        probe_ids: Token ids [B,N] whose logits must not change.

    Raises:
        NumericalError: logits that are not finite, or that differ by more than
            `MERGE_TOLERANCE` times the largest.
    """
    peft_model.float().eval()
    before = _logits(peft_model, probe_ids)
    merged = peft_model.merge_and_unload()
    after = _logits(merged, probe_ids)
    merged.requires_grad_(True)
    difference, largest = (after - before).abs().max().item(), before.abs().max().item()
    if not difference <= MERGE_TOLERANCE * max(largest, 1.0):  # NaN fails too
        raise NumericalError(
            f"merged weights give other logits than base and LoRA: they differ by {difference:.3g} "
            f"where the largest is {largest:.3g}, expected at most {MERGE_TOLERANCE:g} of it",
            remedy="look for NaN in the last lines of metrics.jsonl; continue from an "
            "earlier checkpoint",
        )
    return merged, difference


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    device = model.get_input_embeddings().weight.device
    with torch.autocast(device.type, enabled=False):
        return model(input_ids=ids.to(device), use_cache=False).logits


def _check_names(model: nn.Module, targets: Sequence[str], trained_whole: Sequence[str]) -> None:
    both = sorted(set(targets) & set(trained_whole))
    if both:
        raise UsageError(
            f"{', '.join(both)}: in both `targets` and `trained_whole`",
            remedy="a module gets an adapter or is trained whole",
        )
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    own = [
        name
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    for field, ends, known in (
        ("targets", [f".{end}" for end in targets], linear),
        ("trained_whole", trained_whole, own),
    ):
        lost = [
            end.lstrip(".") for end in ends if not any(f".{name}".endswith(end) for name in known)
        ]
        if lost:
            kinds = sorted({name.rpartition(".")[2] for name in known})
            raise UsageError(
                f"adapter.{field}: the model has no {', '.join(lost)}",
                remedy=f"it has: {', '.join(kinds)}",
            )
