"""The language model of a benchmark with the visual tokenizer whose codes it speaks: found and
checked at once, loaded at first use.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from seedcli.console import Reporter
from seedcli.models.language.generate import SeedLlama
from seedcli.models.language.load import load_language_model, refuse_quantization
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.locate import ModelFiles, locate
from seedcli.models.weights.locate_llm import check_visual_tokenizer, locate_llm
from seedcli.workflows.evaluate.fields import LanguageModelFields
from seedcli.workflows.evaluate.pictures import EvalPictures


class Speaker:
    """A language model and its visual tokenizer.

    Attributes:
        files: Where the language model is.
        facts: What it says of itself.
        pictures: Its eyes, and the picture decoder that draws for it.
    """

    def __init__(
        self,
        chosen: LanguageModelFields,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        decoder: ModelFiles | None = None,
        reporter: Reporter | None = None,
    ):
        """Loads nothing but a visual tokenizer whose files do not state its fingerprint.

        Args:
            chosen: Which model, and where it computes.
            steps: Of a drawing; None takes the preset's.
            guidance: Of the picture decoder; None takes the preset's.
            decoder: Files of a model whose picture decoder draws; None: the tokenizer's own.
            reporter: Hears of downloads.

        Raises:
            UsageError: No such model or device, or settings out of range.
            DataError: Files are missing, or the visual tokenizer's codes are not those that the
                language model speaks.
        """
        self._chosen, self._reporter = chosen, reporter or Reporter()
        self._made_of: functools.partial[Any] = functools.partial(
            Speaker, chosen, steps=steps, guidance=guidance, decoder=decoder
        )
        refuse_quantization(chosen.quantize, chosen.device)
        self.files = locate_llm(chosen.model, tokenizer=chosen.tokenizer, reporter=reporter)
        self.facts = self.files.facts
        self.pictures = EvalPictures(
            locate(self.facts.visual_tokenizer, reporter=reporter),
            steps=steps,
            guidance=guidance,
            decoder=decoder,
            device=chosen.device,
            reporter=reporter,
        )
        known = dataclasses.replace(self.pictures.facts, fingerprint=self.pictures.fingerprint)
        named = chosen.tokenizer is not None
        check_visual_tokenizer(self.facts, known, chosen=named, reporter=self._reporter)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or on another machine, it is found and loaded anew."""
        return self._made_of, ()

    @functools.cached_property
    def llm(self) -> SeedLlama:
        """The language model; `rest` forgets it."""
        chosen = self._chosen
        return load_language_model(
            self.files, device=chosen.device, dtype=chosen.dtype, quantize=chosen.quantize
        )

    def rest(self) -> None:
        """Gives the language model's memory back: two of 8 billion parameters need not fit at
        once.
        """
        self.__dict__.pop("llm", None)

    def model_settings(self) -> dict[str, Any]:
        """What decides what it says, for the settings of a run."""
        chosen = self._chosen
        return {
            "name": self.facts.name,
            "weights": weights_digest(*self.files.folders),
            "dtype": chosen.dtype,
        } | ({"quantize": chosen.quantize} if chosen.quantize else {})
