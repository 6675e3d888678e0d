"""Key tables, census, and loading of both layouts, against the official arrays and the
counts of the specification.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seedcli.errors import DataError
from seedcli.models.visual.config import PRESETS
from seedcli.models.visual.vision import VisionTransformer
from seedcli.models.weights.convert import (
    census,
    convert_quantizer,
    convert_vision,
    expected_shapes,
)
from seedcli.models.weights.key_tables import quantizer_table, text_table, vision_table
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.models.weights.tensors import read_tensors, save_tokenizer_folder, weights_digest
from tests.released_weights import released_shapes

SEED_2 = PRESETS["seed-2"]
BOTH_LAYOUTS = ["tiny_tokenizer_folder", "released_folder"]


def on_meta(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_tables_cover_every_tensor_of_ours_exactly_once():
    for config in PRESETS.values():
        targets = [
            *vision_table(config).values(),
            *quantizer_table(config).values(),
            *text_table(config).values(),
        ]
        assert len(set(targets)) == len(targets)
        assert set(targets) == set(expected_shapes(config)) - {"codebook.position_mean"}


def test_census_of_the_release_layout_at_full_size():
    vision, quantizer = (on_meta(shapes) for shapes in released_shapes(SEED_2))
    assert len(quantizer) == 590
    found = census(quantizer, SEED_2, role="quantizer")
    assert (found.num_used, found.num_accounted_for) == (370, 220)
    groups = {group: len(keys) for group, keys in found.accounted_for.items()}
    assert groups == {"text branch": 74, "image-text heads": 7, "text-distillation head": 139}
    assert (found.unknown, found.missing, found.misshapen) == ([], [], [])
    with_text = census(quantizer, SEED_2, role="quantizer", text_branch=True)
    assert (with_text.num_used, with_text.num_accounted_for) == (370 + 74 + 5, 139 + 2)
    found = census(vision, SEED_2, role="vision")
    assert (found.num_used, found.unknown, found.missing) == (511, [], [])
    assert set(found.accounted_for) == {"block 39", "final norm", "classifier head"}


def test_released_values_weigh_what_the_published_files_weigh():
    vision, quantizer = (on_meta(shapes) for shapes in released_shapes(SEED_2))
    assert sum(tensor.numel() for tensor in quantizer.values()) * 4 == pytest.approx(
        1.2287e9, rel=1e-3
    )
    assert sum(tensor.numel() for tensor in vision.values()) * 2 == pytest.approx(
        2_025_249_237, rel=1e-3
    )


def test_tiny_official_names_are_all_known(tiny_released_tensors, tiny_config):
    vision, quantizer = tiny_released_tensors
    for tensors, role in ((vision, "vision"), (quantizer, "quantizer")):
        found = census(tensors, tiny_config, role=role)
        assert (found.unknown, found.missing, found.misshapen) == ([], [], [])


@pytest.mark.parametrize("layout", BOTH_LAYOUTS)
def test_both_layouts_give_the_official_codes(layout, request, tiny_arrays):
    tokenizer = load_seed_model(locate(str(request.getfixturevalue(layout))), text_branch=True)
    assert not tokenizer.training
    assert torch.equal(tokenizer.encode(tiny_arrays["in.pixels"]), tiny_arrays["out.codes"])
    # measured worst case 6.3e-7
    text = tokenizer.text_features(tiny_arrays["in.text_ids"], tiny_arrays["in.text_mask"])
    torch.testing.assert_close(text, tiny_arrays["out.text.features"], atol=1e-5, rtol=0)


def test_layouts_agree_on_the_fingerprint_and_text_is_optional(
    tiny_tokenizer_folder, released_folder
):
    ours, released = (
        load_seed_model(locate(str(folder))) for folder in (tiny_tokenizer_folder, released_folder)
    )
    assert ours.fingerprint == released.fingerprint
    assert len(ours.fingerprint) == 16
    assert ours.text_branch is None
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_weights_stay_in_their_dtype_while_arithmetic_is_fp32(
    tmp_path, tiny_released_tensors, released_folder, tiny_arrays
):
    vision, quantizer = tiny_released_tensors
    torch.save({key: tensor.half() for key, tensor in vision.items()}, tmp_path / "eva_vit_g.pth")
    save_file(
        {key: tensor.contiguous() for key, tensor in quantizer.items()},
        tmp_path / "seed_quantizer.safetensors",
    )
    (tmp_path / "seed_tokenizer.json").write_bytes(
        (released_folder / "seed_tokenizer.json").read_bytes()
    )
    tokenizer = load_seed_model(locate(str(tmp_path)))
    assert tokenizer.vision.blocks[0].mlp.fc1.weight.dtype == torch.float16
    assert tokenizer.qformer.query_tokens.dtype == torch.float32
    assert tokenizer.features(tiny_arrays["in.pixels"]).dtype == torch.float32
    exact = load_seed_model(locate(str(released_folder)))
    exact.vision.half()
    assert torch.equal(
        tokenizer.encode(tiny_arrays["in.pixels"]), exact.encode(tiny_arrays["in.pixels"])
    )


def test_legacy_file_format_loads_too(tmp_path, tiny_released_tensors):
    vision, _ = tiny_released_tensors
    torch.save(vision, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    tensors = read_tensors(tmp_path / "old.pth")
    assert all(torch.equal(tensors[key], tensor) for key, tensor in vision.items())


def test_one_row_less_in_the_vocabulary_is_the_release_without_dec(
    tmp_path, tiny_released_tensors, released_folder
):
    vision, quantizer = tiny_released_tensors
    words = "Qformer.bert.embeddings.word_embeddings.weight"
    torch.save(vision, tmp_path / "eva_vit_g.pth")
    torch.save(quantizer | {words: quantizer[words][:-1].clone()}, tmp_path / "seed_quantizer.pt")
    (tmp_path / "seed_tokenizer.json").write_bytes(
        (released_folder / "seed_tokenizer.json").read_bytes()
    )
    tokenizer = load_seed_model(locate(str(tmp_path)), text_branch=True)
    assert tokenizer.config.qformer.vocab_size == 160
    assert tokenizer.fingerprint == load_seed_model(locate(str(released_folder))).fingerprint


def test_missing_and_misshapen_keys_are_named(tiny_released_tensors, tiny_config):
    vision, quantizer = tiny_released_tensors
    lacking = {key: tensor for key, tensor in quantizer.items() if key != "image_down.2.weight"}
    with pytest.raises(DataError, match=r"missing +image_down\.2\.weight"):
        convert_quantizer(lacking, tiny_config, text_branch=False, file="f.pt")
    with pytest.raises(
        DataError, match=r"blocks\.1\.mlp\.fc1\.weight: \[3, 3\], expected \[418, 96\]"
    ):
        convert_vision(
            vision | {"blocks.1.mlp.fc1.weight": torch.zeros(3, 3)}, tiny_config, file="f.pth"
        )
    with pytest.raises(DataError, match="keys missing"):
        convert_vision(vision, SEED_2, file="f.pth")


def test_the_head_of_todays_training_code_is_told_apart(tiny_released_tensors, tiny_config):
    _, quantizer = tiny_released_tensors
    head = {key: tensor for key, tensor in quantizer.items() if not key.startswith("image_down")}
    with pytest.raises(DataError, match="Reverse Q-Former head"):
        convert_quantizer(
            head | {"Reverse_Qformer.bert.x": torch.zeros(1)},
            tiny_config,
            text_branch=False,
            file="f.pt",
        )


def test_unknown_keys_are_listed_not_swallowed(tiny_released_tensors, tiny_config):
    _, quantizer = tiny_released_tensors
    found = census(quantizer | {"surprise.weight": torch.zeros(1)}, tiny_config, role="quantizer")
    assert found.unknown == ["surprise.weight"]


def test_permuted_text_positions_are_refused(tiny_released_tensors, tiny_config):
    _, quantizer = tiny_released_tensors
    key = "Qformer.bert.embeddings.position_ids"
    with pytest.raises(DataError, match="position_ids"):
        convert_quantizer(
            quantizer | {key: quantizer[key].flip(-1)}, tiny_config, text_branch=False, file="f.pt"
        )


def test_round_trip_to_the_official_names(tiny_released_tensors, tiny_config):
    vision, quantizer = tiny_released_tensors
    ours = convert_vision(vision, tiny_config, file="f") | convert_quantizer(
        quantizer, tiny_config, text_branch=True, file="f"
    )
    for table, released in (
        (vision_table(tiny_config), vision),
        (quantizer_table(tiny_config) | text_table(tiny_config), quantizer),
    ):
        assert all(ours[mine] is released[key] for key, mine in table.items())


def test_position_mean_is_the_mean_of_the_codebook_where_the_file_has_none(released_folder):
    codebook = load_seed_model(locate(str(released_folder))).codebook
    torch.testing.assert_close(codebook.position_mean, codebook.embedding.mean(0).expand(32, -1))


def test_vit_of_a_transformers_blip2_file_is_the_same_function(tiny_config, tiny_arrays):
    from transformers import Blip2VisionConfig, Blip2VisionModel

    vision, pixels = tiny_config.vision, tiny_arrays["in.pixels"]
    torch.manual_seed(0)
    theirs = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=vision.width,
            intermediate_size=vision.mlp_dim,
            num_hidden_layers=vision.depth,
            num_attention_heads=vision.num_heads,
            image_size=vision.image_size_px,
            patch_size=vision.patch_size_px,
        )
    ).eval()
    tensors = {f"vision_model.{key}": tensor for key, tensor in theirs.state_dict().items()}
    for key, tensor in tensors.items():
        tensor.normal_(std=0.1)
        if key.endswith("qkv.bias"):
            tensor[vision.width : 2 * vision.width] = 0
    ours = VisionTransformer(vision)
    converted = convert_vision(
        tensors | {"qformer.x": torch.zeros(1)}, tiny_config, file="model.safetensors"
    )
    ours.load_state_dict({key.removeprefix("vision."): tensor for key, tensor in converted.items()})
    with torch.no_grad():
        expected = theirs(pixels, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(ours(pixels), expected, atol=1e-4, rtol=1e-4)
    bias = tensors["vision_model.encoder.layers.0.self_attn.qkv.bias"]
    bias[vision.width] = 1.0
    with pytest.raises(DataError, match="bias for keys"):
        convert_vision(tensors, tiny_config, file="model.safetensors")


class Trap:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("kind", ["zip", "bare pickle"])
def test_hostile_pickle_is_refused_and_not_run(tmp_path, released_folder, kind):
    marker, folder = tmp_path / "executed", tmp_path / "model"
    folder.mkdir()
    if kind == "zip":
        torch.save(
            {"query_tokens": torch.zeros(1), "x": Trap(marker)}, folder / "seed_quantizer.pt"
        )
    else:
        (folder / "seed_quantizer.pt").write_bytes(pickle.dumps({"x": Trap(marker)}))
    for name in ("eva_vit_g.pth", "seed_tokenizer.json"):
        (folder / name).write_bytes((released_folder / name).read_bytes())
    with pytest.raises(DataError, match="refused") as caught:
        load_seed_model(locate(str(folder)))
    assert caught.value.exit_code == 3
    assert "seed_quantizer.pt" in caught.value.message
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap(marker)))  # the trap does work
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a weight file", b"PK\x03\x04 torn"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["eva_vit_g.pth", "seed_quantizer.pt"])
def test_truncated_download_is_refused(tmp_path, released_folder, name):
    content = (released_folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=name):
        read_tensors(tmp_path / name)


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(DataError, match="expected a flat table of tensors"):
        read_tensors(tmp_path / "list.pt")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(DataError, match=r"zip\.pt"):
        read_tensors(tmp_path / "zip.pt")


def test_digest_ignores_order_stored_dtype_words_and_filler(tiny_tokenizer_folder):
    tensors = load_file(tiny_tokenizer_folder / "model.safetensors")
    digest = weights_digest(tensors)
    assert weights_digest(dict(reversed(tensors.items()))) == digest
    assert weights_digest({key: tensor.double() for key, tensor in tensors.items()}) == digest
    for key in (
        "text_branch.temperature",
        "codebook.position_mean",
        "decoder.reconstruction.position_embedding",
    ):
        assert weights_digest(tensors | {key: tensors[key] + 1}) == digest
    for key in (
        "vision.class_token",
        "codebook.embedding",
        "decoder.projection.bias",
        "vision_norm.bias",
    ):
        changed = tensors[key].clone()
        changed.flatten()[-1] += 1e-3
        assert weights_digest(tensors | {key: changed}) != digest


def test_saved_folder_loads_with_the_same_fingerprint_and_rounds_on_request(
    tmp_path, tiny_tokenizer_folder, tiny_vocab, tiny_arrays
):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)), text_branch=True)
    stated = save_tokenizer_folder(
        tokenizer, tmp_path / "same", name="again", trained={"steps": 3}, vocab=tiny_vocab
    )
    again = load_seed_model(locate(str(tmp_path / "same")), text_branch=True)
    assert again.fingerprint == stated == tokenizer.fingerprint
    assert again.name == "again"
    assert json.loads((tmp_path / "same" / "seed_tokenizer.json").read_text())["trained"] == {
        "steps": 3
    }
    half = save_tokenizer_folder(
        tokenizer, tmp_path / "half", name="half", trained={}, dtype=torch.float16
    )
    assert half != stated
    rounded = load_seed_model(locate(str(tmp_path / "half")))
    assert rounded.fingerprint == half
    assert rounded.vision.class_token.dtype == torch.float16
    assert rounded.encode(tiny_arrays["in.pixels"]).shape == (4, 32)
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.55 * (
        tmp_path / "same" / "model.safetensors"
    ).stat().st_size


def test_changed_configuration_does_not_pass_for_the_same_model(tmp_path, tiny_tokenizer_folder):
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(
        (tiny_tokenizer_folder / "model.safetensors").read_bytes()
    )
    facts = json.loads((tiny_tokenizer_folder / "seed_tokenizer.json").read_text())
    facts["config"]["preprocess"]["codes"]["interpolation"] = "bicubic"
    (folder / "seed_tokenizer.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="changed by hand"):
        load_seed_model(locate(str(folder)))
    facts["fingerprint"], facts["config"]["name"] = None, "mine"
    (folder / "seed_tokenizer.json").write_text(json.dumps(facts))
    assert load_seed_model(locate(str(folder))).fingerprint not in {
        "",
        json.loads((tiny_tokenizer_folder / "seed_tokenizer.json").read_text())["fingerprint"],
    }


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads the resident size from Linux's /proc"
)
@pytest.mark.parametrize("name", ["big.pth", "big.safetensors"])
def test_loading_maps_files_instead_of_reading_them(tmp_path, name):
    """Mapping 64 MB of weights must not make them resident, in either format."""
    weights = {"x": torch.zeros(16, 1 << 20)}
    torch.save(weights, tmp_path / name) if name.endswith(".pth") else save_file(
        weights, tmp_path / name
    )
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    tensors = read_tensors(tmp_path / name)
    after = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert tensors["x"].numel() == 16 << 20
    assert after - before < 16e6
