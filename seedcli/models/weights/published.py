"""Where published weights live: for each role an ordered list of sources, the first that answers
wins. Data only, torch-free.

Hubs lose models: the picture decoder that the official configuration names is gone. So each role
has more than one source where the world has more than one, and every fact says no more than is
known: a size or hash that could not be read anywhere is None, never a guess. Seen: stored hub pages
and repositories of 2024-2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LAVIS_BUCKET = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that has the files of a role.

    Attributes:
        repo: Hub repository, or None for a plain `url`.
        url: Address of a single file, for sources outside the hub.
        folder: Of the repository, where the files lie; ends in `/` unless it is the top.
        files: Names in that folder, where the role's kind does not tell them.
        revision: Commit, tag or branch. A branch name means that no commit is known;
            `seed models pull` prints the one it got.
        size_bytes: Of a single file; None if unknown.
        sha256: Of a single file; None if unknown.
        licence: As the source states it.
        note: What one should know before trusting it.
    """

    repo: str | None = None
    url: str | None = None
    folder: str = ""
    files: tuple[str, ...] = ()
    revision: str = "main"
    size_bytes: int | None = None
    sha256: str | None = None
    licence: str = "unknown"
    note: str = ""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.url or f"{self.repo}@{self.revision[:12]}"

    def name_of_file(self) -> str:
        """Bare name of the one file of a file role."""
        return (self.url or self.files[0]).rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Role:
    """One part of a model that is downloaded on its own.

    Attributes:
        name: As `seed models pull NAME` takes it.
        title: What it is.
        kind: A single file, a folder of named files, or a folder whose files are chosen by what the
            repository holds (`weights.layout`).
        about_gb: What is fetched takes on the disk, rounded: of hub pages, or parameters times
            bytes of their type.
        billion_parameters: In use, for the memory that it takes; 0 where it is no network.
        lay_out: How a user without a network puts it in place.
    """

    name: str
    title: str
    kind: Literal["file", "files", "language-model", "pipeline"]
    sources: tuple[Source, ...]
    about_gb: float | None = None
    billion_parameters: float = 0.0
    lay_out: str


VIT_G = Role(
    name="vit-g",
    title="visual encoder EVA-CLIP-g, cut after block 39",
    kind="file",
    about_gb=2.03,
    billion_parameters=0.986,
    sources=(
        Source(
            url=f"{LAVIS_BUCKET}/eva_vit_g.pth",
            size_bytes=2_025_249_237,
            sha256="99d2bb36c6b52c94fe6e2e12373afb27de57ae81378c3d8c53bf0e83b0f4275f",
            licence="BSD-3-Clause (LAVIS), MIT (EVA)",
            note="the file that the official code downloads; the bucket has answered 403 at times",
        ),
        Source(
            repo="catid/minigpt4",
            files=("eva_vit_g.pth",),
            revision="7d52501e7b2b64af37e73d6be458e4608c979eb2",
            size_bytes=2_025_249_237,
            sha256="99d2bb36c6b52c94fe6e2e12373afb27de57ae81378c3d8c53bf0e83b0f4275f",
            note="copy, same sha256",
        ),
        Source(
            repo="lainxx/eva_vit_g",
            files=("eva_vit_g.pth",),
            size_bytes=2_025_249_237,
            sha256="99d2bb36c6b52c94fe6e2e12373afb27de57ae81378c3d8c53bf0e83b0f4275f",
            note="copy, same sha256",
        ),
        Source(
            repo="Salesforce/blip2-itm-vit-g",
            files=("model.safetensors",),
            licence="MIT",
            note="whole BLIP-2 (4.69 GB), its ViT is the same; not compared tensor by tensor here",
        ),
    ),
    lay_out="put eva_vit_g.pth beside seed_quantizer.pt in one folder and say --model FOLDER",
)
QUANTIZER = Role(
    name="quantizer",
    title="SEED-2: causal Q-Former, codebook, decoder",
    kind="file",
    about_gb=1.23,
    billion_parameters=0.164,
    sources=(
        Source(
            repo="AILab-CVC/seed-tokenizer-2",
            files=("seed_quantizer.pt",),
            revision="c6d957a9b280d9ed3879b1eb5d99036cf8390012",
            licence="Apache-2.0",
            note="the release, 1.23 GB",
        ),
        Source(
            repo="AILab-CVC/SEED",
            folder="seed_tokenizer/",
            files=("seed_quantizer.pt",),
            revision="671e25273ec459026047d3551b843230299ad4a1",
            licence="llama2",
            note="the authors' bundle, 1.23 GB",
        ),
        Source(
            repo="ontocord/seed2",
            files=("seed_quantizer.pt",),
            note="repackaged by others; only its weights are read; its file name was not verified",
        ),
    ),
    lay_out="put seed_quantizer.pt beside eva_vit_g.pth in one folder and say --model FOLDER",
)
BERT_VOCABULARY = Role(
    name="bert-vocabulary",
    title="WordPiece vocabulary of the text branch (bert-base-uncased)",
    kind="file",
    about_gb=0.0002,
    sources=(
        Source(
            repo="google-bert/bert-base-uncased",
            files=("vocab.txt",),
            revision="86b5e0934494bd15c9632b12f734a8a67f723594",
            size_bytes=231_508,
            sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            licence="Apache-2.0",
        ),
        Source(
            repo="BAAI/bge-small-en-v1.5",
            files=("vocab.txt",),
            revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
            size_bytes=231_508,
            sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            licence="MIT",
            note="the same file in another model",
        ),
    ),
    lay_out="put vocab.txt (bert-base-uncased) into the model's folder",
)
UNCLIP = Role(
    name="unclip",
    title="picture decoder: stable-unCLIP 2.1 (ViT-H, 1024-wide), without its image encoder",
    kind="pipeline",
    about_gb=2.6,  # in fp16; twice as much where a source has no fp16 files
    billion_parameters=0.95,  # UNet and VAE: the text encoder is let go after the empty prompt
    sources=(
        Source(
            repo="sd2-community/stable-diffusion-2-1-unclip",
            licence="openrail++",
            note="community copy of the removed original",
        ),
        Source(
            repo="radames/stable-diffusion-2-1-unclip-img2img",
            revision="0389858f547296c207379237041d04732b9387ee",
            licence="openrail++",
            note="duplicate of the original",
        ),
        Source(
            repo="diffusers/stable-diffusion-2-1-unclip-i2i-h",
            note="upload of the library's authors; its content was not seen",
        ),
        Source(
            repo="stabilityai/stable-diffusion-2-1-unclip",
            licence="openrail++",
            note="the original; removed from the hub in November 2025",
        ),
    ),
    lay_out="put the pipeline's folder (the one with model_index.json) as `decoder` into the "
    "model's folder",
)
CLIP_H = Role(
    name="clip-h",
    title="target of the generation embedding in stage II: CLIP ViT-H/14 (LAION-2B)",
    kind="files",
    about_gb=3.94,
    billion_parameters=0.632,  # its image tower; the text tower is not loaded
    sources=(
        Source(
            repo="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            files=("config.json", "preprocessor_config.json", "model.safetensors"),
            licence="MIT",
            note="for training and clip-similarity only",
        ),
    ),
    lay_out="name the folder in the recipe",
)
BLIP_2 = Role(
    name="blip-2",
    title="start of stage I: BLIP-2's first-stage Q-Former with text branch",
    kind="file",
    sources=(
        Source(
            url=f"{LAVIS_BUCKET}/blip2_pretrained.pth",
            licence="BSD-3-Clause",
            note="the file that the official recipe starts from",
        ),
        Source(
            repo="Salesforce/blip2-itm-vit-g",
            files=("model.safetensors",),
            licence="MIT",
            note="4.69 GB, transformers naming; the -coco variant is fine-tuned on COCO and must "
            "not be used for zero-shot figures",
        ),
    ),
    lay_out="name the file in the recipe",
)
_TEXT_TOKENIZER_FILES = (
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "tokenizer.model",
)
SEED_LLAMA_TEXT_TOKENIZER = Role(
    name="seed-llama-text-tokenizer",
    title="words and code tokens of the published SEED-LLaMA models",
    kind="files",
    about_gb=0.0007,
    sources=(
        Source(
            repo="AILab-CVC/seed-tokenizer-2",
            files=_TEXT_TOKENIZER_FILES,
            revision="c6d957a9b280d9ed3879b1eb5d99036cf8390012",
            licence="Apache-2.0",
        ),
        Source(
            repo="AILab-CVC/SEED",
            folder="seed_tokenizer/",
            files=_TEXT_TOKENIZER_FILES,
            revision="671e25273ec459026047d3551b843230299ad4a1",
            licence="llama2",
        ),
    ),
    lay_out="put added_tokens.json and tokenizer.model beside the language model's config.json",
)


def language_model(repo: str, *, name: str | None = None) -> Role:
    """A language model that is named by its hub repository alone."""
    return Role(
        name=name or repo,
        title="language model",
        kind="language-model",
        sources=(Source(repo=repo),),
        lay_out="name a folder with its config.json and weights",
    )


def _seed_llama(
    name: str, title: str, *, bundle: str | None, about_gb: float, billion_parameters: float
) -> Role:
    """A published SEED-LLaMA: its own repository, then its folder of the authors' bundle."""
    own = Source(
        repo=f"AILab-CVC/{name}",
        licence="llama2",
        note="" if bundle else "no second source is known",
    )
    bundled = Source(
        repo="AILab-CVC/SEED",
        folder=f"{bundle}/",
        revision="671e25273ec459026047d3551b843230299ad4a1",
        licence="llama2",
    )
    return Role(
        name=name,
        title=title,
        kind="language-model",
        about_gb=about_gb,
        billion_parameters=billion_parameters,
        sources=(own, bundled) if bundle else (own,),
        lay_out="say --model FOLDER",
    )


SEED_LLAMAS = (
    _seed_llama(
        "seed-llama-8b-sft",
        "SEED-LLaMA 8B, instruction-tuned",
        bundle=None,
        about_gb=27.2,  # stored in fp32
        billion_parameters=6.806,
    ),
    _seed_llama(
        "seed-llama-8b-pretrain",
        "SEED-LLaMA 8B, pretrained",
        bundle="seed_llama_8b_pretrain",
        about_gb=13.6,
        billion_parameters=6.806,
    ),
    _seed_llama(
        "seed-llama-14b-sft",
        "SEED-LLaMA 14B, instruction-tuned",
        bundle="seed_llama_14b_sft",
        about_gb=26.2,
        billion_parameters=13.1,
    ),
    _seed_llama(
        "seed-llama-14b-pretrain",
        "SEED-LLaMA 14B, pretrained",
        bundle="seed_llama_14b_pretrain",
        about_gb=26.2,
        billion_parameters=13.1,
    ),
)
VICUNA_7B = Role(
    name="vicuna-7b-v1.1",
    title="the LLM that `seed pretrain` starts from",
    kind="language-model",
    about_gb=13.5,
    billion_parameters=6.738,
    sources=(
        Source(
            repo="lmsys/vicuna-7b-v1.1",
            licence="LLaMA-1 (non-commercial)",
            note="v1.5 is another model and does not fit SEED-LLaMA's weights",
        ),
    ),
    lay_out="name the folder in the recipe",
)

ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        VIT_G,
        QUANTIZER,
        BERT_VOCABULARY,
        UNCLIP,
        CLIP_H,
        BLIP_2,
        SEED_LLAMA_TEXT_TOKENIZER,
        *SEED_LLAMAS,
        VICUNA_7B,
    )
}

_SEED_2_ROLES = ("vit-g", "quantizer", "bert-vocabulary", "unclip")
PRESET_TITLES = {
    "seed-nano": "small tokenizer and picture decoder, bundled, trained on emoji; the default",
    "seed-2": "the published SEED-2 tokenizer and its unCLIP decoder, for photographs",
    **{role.name: f"{role.title}, with the tokenizer of seed-2" for role in SEED_LLAMAS},
}

# What `seed models pull PRESET` brings: all that its commands need.
PRESET_ROLES: dict[str, tuple[str, ...]] = {
    "seed-nano": (),
    "seed-2": _SEED_2_ROLES,
    **{
        role.name: (role.name, SEED_LLAMA_TEXT_TOKENIZER.name, *_SEED_2_ROLES)
        for role in SEED_LLAMAS
    },
}
