"""Recipe sections of the language model: `seed pretrain` and `seed instruct`. Torch-free; the rules
of `sections` hold here too.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from seedcli.recipe.sections import (
    AdamWSection,
    CheckpointsSection,
    ProcessesSection,
    Recipe,
    Strict,
    comfort,
    setting,
)

Form = Literal[
    "text",
    "caption",
    "interleaved",
    "video-caption",
    "retrieval-augmented",
    "messages",
    "describe",
    "draw",
    "question",
    "video-question",
    "edit",
    "difference",
    "story",
]
# no conversations
PLAIN_FORMS: frozenset[Form] = frozenset(
    {"text", "caption", "interleaved", "video-caption", "retrieval-augmented"}
)


Template = Literal["vicuna", "llama-2", "own"]


class DocumentSourceSection(Strict):
    """One source of training documents: where rows lie, and what document a row becomes."""

    kind: Literal["tokens", "table", "tar"] = setting(
        "tokens: token shards of seed tokenize; table: whatever `datasets` reads (parquet, JSON "
        "lines, hub id); tar: webdataset shards of rows with codes"
    )
    path: str = setting("file, folder, hub id or tar pattern")
    form: Form = setting("what document a row becomes, see data/documents/forms.py")
    weight: float = setting("share of samples, relative to the other sources", gt=0)
    max_tokens: int = setting(
        "longest document, tokens; whole images that do not fit are dropped", ge=8
    )
    image_first: float | None = comfort(
        None, "form caption: share of documents with the picture before its words", ge=0, le=1
    )
    mask_first: bool | None = comfort(
        None, "form caption: only what comes second is learned; published: no"
    )
    swap: float | None = comfort(
        None,
        "form interleaved: share of documents whose pictures swap with the text after them",
        ge=0,
        le=1,
    )
    max_images: int | None = comfort(
        None, "form interleaved: the document ends before the next image", ge=1
    )
    split: str = comfort("train", "split of a table that has several")
    text_column: str = comfort(
        "text", "column of a table or key of a tar's JSON that holds the words"
    )
    images: str | None = comfort(
        None, "folder that picture paths in the rows are relative to; default: beside the file"
    )
    code_noise: float = comfort(
        0.0, "share of the codes that are read, not learned, which other codes replace", ge=0, lt=1
    )
    wordless: float = comfort(
        0.0,
        "share of the requests for a picture (form caption: of the captions before one) that are "
        "left without words, and their answers too; what --code-guidance needs",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _fields_of_the_form(self) -> Self:
        needed = {"caption": ("image_first", "mask_first"), "interleaved": ("swap", "max_images")}
        for form, fields in needed.items():
            for field in fields:
                stated = getattr(self, field) is not None
                if stated != (self.form == form):
                    raise ValueError(
                        f"form {self.form!r} "
                        + (f"has no field `{field}`" if stated else f"needs the field `{field}`")
                    )
        if self.code_noise and self.form in PLAIN_FORMS and not self.mask_first:
            raise ValueError(
                f"`code_noise` replaces codes that are not learned, and form {self.form!r} without "
                "mask_first learns all"
            )
        if self.wordless and self.form in PLAIN_FORMS and self.image_first in (None, 1.0):
            raise ValueError(
                f"`wordless` leaves requests for a picture without words, and form {self.form!r} "
                + ("with image_first = 1 has none" if self.image_first else "has none")
            )
        return self


class DocumentDataSection(Strict):
    """A weighted mixture, packed to the context length; sample n is a pure
    function of (seed, n).
    """

    sources: list[DocumentSourceSection] = setting("at least one source", min_length=1)

    @property
    def has_conversations(self) -> bool:
        """Some documents are conversations."""
        return any(source.form not in PLAIN_FORMS for source in self.sources)


class TokenOptimizationSection(AdamWSection):
    """AdamW over packed rows, or Muon and AdamW."""

    optimizer: Literal["adamw", "muon"] = comfort(
        "adamw",
        "muon: the matrices of the decoder layers learn by Muon, with AdamW's rates, decay and "
        "schedule; all else by AdamW",
    )
    batch_tokens: int = setting(
        "tokens per update, all processes together: a multiple of the context length", ge=1
    )
    weight_decay: float = setting("AdamW's weight decay", ge=0)
    decay_norms: bool = setting("decay RMSNorm weights and embeddings too, as the official run did")
    word_weight: float = comfort(
        1.0,
        "what a learned word counts in the loss, of what a code counts: a picture has 32 codes, "
        "its name two words",
        gt=0,
    )


class AdapterSection(Strict):
    """LoRA beside the linear layers, and what is trained whole."""

    rank: int = setting("rank of the update of each linear layer", ge=1)
    alpha: float = setting("scale of the update times rank", gt=0)
    dropout: float = setting("on the adapter's input", ge=0, lt=1)
    targets: list[str] = setting(
        "linear layers that get one, by the end of their name", min_length=1
    )
    trained_whole: list[str] = setting("modules trained as they are, by the end of their name")


class LlamaShapeSection(Strict):
    """Shape of a Llama that is trained from scratch."""

    hidden_size: int = setting("width", ge=8, multiple_of=8)
    intermediate_size: int = setting("width inside the gated MLP", ge=8)
    num_layers: int = setting("decoder layers", ge=1)
    num_heads: int = setting("attention heads", ge=1)
    max_positions: int = setting("longest sequence that it is made for, tokens", ge=64)
    rope_theta: float = setting("base of the rotary positions", gt=0)
    text_vocab_size: int = setting(
        "pieces of the text vocabulary, learned from the text phase's sources", ge=300
    )


class LanguageModelSection(Strict):
    """The language model that learns to read and write pictures."""

    start: str = setting(
        "`scratch`, or a folder, hub id or preset with a causal language model of the Llama family "
        "and its tokenizer"
    )
    template: Template = setting(
        "how conversations are written; own: the base model's chat template"
    )
    shape: LlamaShapeSection | None = comfort(None, "with start = scratch only")

    @model_validator(mode="after")
    def _shape_belongs_to_scratch(self) -> Self:
        if (self.start == "scratch") != (self.shape is not None):
            raise ValueError('`shape` is for start = "scratch", and needed there')
        return self


class LlmParallelSection(ProcessesSection):
    """How one update is spread over processes and memory; changes no result beyond rounding."""

    zero_stage: Literal[0, 1, 2, 3] = comfort(
        0, "DeepSpeed ZeRO: 1 shards optimizer moments, 2 gradients too, 3 parameters too"
    )
    offload_parameters: bool = comfort(
        False, "DeepSpeed ZeRO 3 keeps parameters in the host's memory"
    )
    gradient_checkpointing: bool = comfort(
        False,
        "recompute each layer in the backward pass: a quarter more arithmetic, far less memory",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = comfort(
        "auto", "attention kernel; auto: the fastest installed"
    )
    micro_batch_rows: int = comfort(
        1, "packed rows a process computes at once; must divide its share of an update", ge=1
    )


class LlmRunSection(CheckpointsSection):
    """What a run writes, and when; nothing here changes results."""

    log_every_steps: int = comfort(10, "updates between lines of metrics.jsonl", ge=1)
    shard_size: str = comfort("5GB", "largest file of the saved model")


class PhaseSection(Strict):
    """What every phase has."""

    optimization: TokenOptimizationSection


class FullPhaseSection(PhaseSection):
    """Phase 3: every parameter, but for the input embedding unless it is told to learn."""

    input_embedding: Literal["frozen", "trained"] = comfort(
        "frozen",
        "the published run freezes what its long LoRA phase taught; trained: it goes on learning",
    )


class TextPhaseSection(PhaseSection):
    """Phase 0: words only, every parameter, before the vocabulary has codes."""

    data: DocumentDataSection


class LoraPhaseSection(PhaseSection):
    """Phase 1: LoRA with embeddings, head and norms; merged afterwards, and
    the merge is verified.
    """

    adapter: AdapterSection


class LanguageRecipe(Recipe):
    """What both trainings of the language model have."""

    seed: int = setting("of new weights, samples and dropout", ge=0)
    context_length: int = setting("tokens of a packed row", ge=64)
    data: DocumentDataSection
    parallel: LlmParallelSection = comfort(
        LlmParallelSection(), "how an update is spread over processes"
    )
    run: LlmRunSection = comfort(LlmRunSection(), "what is written, and when")

    @property
    def phases(self) -> dict[str, PhaseSection]:
        """What is trained one after the other, by name; the last one's model is the run's."""
        return {name: value for name, value in self if isinstance(value, PhaseSection)}

    @property
    def lengths(self) -> dict[str, TokenOptimizationSection]:
        """What each phase says of its length."""
        return {name: phase.optimization for name, phase in self.phases.items()}

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Self:
        if not {"lora", "full"} & set(self.phases):
            raise ValueError("neither `lora` nor `full`: there is nothing to train")
        for optimization in self.lengths.values():
            if optimization.optimizer == "muon" and self.parallel.engine == "deepspeed":
                raise ValueError('optimizer = "muon" needs whole matrices: engine = "ddp"')
            if optimization.batch_tokens % self.context_length:
                raise ValueError(
                    f"batch_tokens {optimization.batch_tokens} is no multiple of "
                    f"context_length {self.context_length}"
                )
        return self


class PretrainRecipe(LanguageRecipe):
    """A language model learns the codes: words only (optional), LoRA, merge, everything
    but the input embedding.
    """

    command: ClassVar[str] = "pretrain"

    stage: Literal["pretrain"] = setting("what is trained")
    tokenizer: str = setting(
        "visual tokenizer whose codes are learned: a preset, a folder or a hub id"
    )
    language_model: LanguageModelSection
    text: TextPhaseSection | None = comfort(
        None, "phase 0; needed with start = scratch, whose text vocabulary it learns"
    )
    lora: LoraPhaseSection | None = comfort(None, "phase 1 and its merge; left out: none")
    full: FullPhaseSection | None = comfort(
        None, "phase 3; left out: the merged model is the result"
    )

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        if self.language_model.start == "scratch" and self.text is None:
            raise ValueError(
                'start = "scratch" needs the phase `text`, which learns the text vocabulary'
            )
        shape = self.language_model.shape
        if shape is not None and shape.max_positions < self.context_length:
            raise ValueError(
                f"language_model.shape.max_positions {shape.max_positions} is less than "
                f"context_length {self.context_length}"
            )
        return self

    @property
    def template(self) -> Template:
        """How conversations are written."""
        return self.language_model.template


class InstructRecipe(LanguageRecipe):
    """A pretrained model learns to follow instructions: by LoRA, merged at the end (as
    published), or with everything but the input embedding.
    """

    command: ClassVar[str] = "instruct"

    stage: Literal["instruct"] = setting("what is trained")
    start: str = setting(
        "folder, hub id or preset of the pretrained model (what seed pretrain wrote)"
    )
    template: Template = setting("how conversations are written; own: the model's chat template")
    lora: LoraPhaseSection | None = comfort(None, "adapters and their merge; left out: none")
    full: FullPhaseSection | None = comfort(
        None, "everything but the input embedding; left out: no"
    )
