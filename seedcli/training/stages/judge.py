"""Stage `judge`: the small open_clip model that scores the pictures of `seed-nano`.

It measures and takes no part in the model: nothing is trained towards it and no command but
`seed eval` reads it. So the bundled one learns from all splits; a judge that had never seen the
test emoji could not tell whether a picture shows them.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.data.images.augmentation import normalize_views, random_views
from seedcli.data.images.captioned import caption_texts, open_pictures, read_training_pictures
from seedcli.models.drawing.judge import build_judge, judge_config, save_judge
from seedcli.models.drawing.target import train_bpe
from seedcli.recipe.drawing import BlurSection, JudgeLossSection, JudgeSection
from seedcli.recipe.pictures import PictureDataSection, ValidationSection
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage
from seedcli.training.stages.picture_batches import (
    MAX_LOGIT_SCALE,
    CaptionedBatches,
    concept_contrast,
    drawing_contrast,
    view_config,
)

BLURRED = "a blurred picture"


class JudgeStage(Stage):
    """Pictures and captions -> an open_clip model, trained with CLIP's loss, and with the same
    among pictures: drawings of one thing are alike.
    """

    name = "judge"

    def __init__(
        self,
        *,
        seed: int,
        data: PictureDataSection,
        validation: ValidationSection | None,
        blur: BlurSection,
        model: JudgeSection,
        losses: JudgeLossSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
        reporter: Reporter | None = None,
    ):
        pictures, held_out = read_training_pictures(data, validation)
        pictures, self.squares = open_pictures(pictures, data.image_size_px, reporter)
        self.held_out = open_pictures(held_out, data.image_size_px, reporter) if held_out else None
        self.tokenizer = train_bpe(
            [*caption_texts(pictures), BLURRED],
            vocab_size=model.vocab_size,
            max_tokens=model.max_text_tokens,
        )
        self.blur, self.loss_weights, self._ranks = blur, losses, ranks
        self.views = view_config(data.augmentation, data.image_size_px)
        self._batches = CaptionedBatches(
            pictures, self.tokenizer, seed=seed, batch_size=batch_size, ranks=ranks, in_pairs=True
        )
        self._sides = (blur.sides_px[0], blur.sides_px[1] + 1)
        self._blurred_ids = self._padded_ids([BLURRED])
        self.config = judge_config(
            self.tokenizer,
            image_size_px=data.image_size_px,
            **model.model_dump(exclude={"vocab_size", "max_text_tokens"}),
        )
        torch.manual_seed(seed)
        # channels last: a third faster on a CPU, in fp32 and in bf16
        self.model: nn.Module = build_judge(self.config).to(memory_format=torch.channels_last)

    def _padded_ids(self, texts: list[str]) -> Tensor:
        return self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")[
            "input_ids"
        ]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views [B,3,S,S] in 0..1, text ids [B,T], concept numbers [B] (equal where two
        pictures are described alike, -1 for blurred ones).
        """
        batch = self._batches.batch(step)
        missing = self.tokenizer.model_max_length - batch["text_ids"].shape[1]
        views = random_views(self.squares[batch["rows"]], self.views)
        ids = F.pad(batch["text_ids"], (0, missing), value=self.tokenizer.pad_token_id)
        blurred = torch.rand(len(views)) < self.blur.share
        for row in blurred.nonzero().flatten().tolist():
            views[row] = blur_view(views[row], int(torch.randint(*self._sides, ())))
        ids[blurred] = self._blurred_ids
        concepts = batch["concepts"].masked_fill(blurred, -1)
        return {"views": views, "text_ids": ids, "concepts": concepts}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """CLIP's symmetric cross entropy and that among drawings; `match` is the share of pictures
        whose nearest caption in the batch fits.
        """
        pixels = normalize_views(batch["views"], self.views)
        images = self.model.encode_image(
            pixels.contiguous(memory_format=torch.channels_last), normalize=True
        )
        texts = self.model.encode_text(batch["text_ids"], normalize=True)
        scale = self.model.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        words, match = concept_contrast(images, texts, batch["concepts"], scale)
        drawings = drawing_contrast(images, batch["concepts"], scale, self._ranks)
        loss = words + self.loss_weights.drawing_weight * drawings
        return {
            "loss": loss,
            "words": words.detach(),
            "drawings": drawings.detach(),
            "match": match,
        }

    def after_step(self, step: int) -> dict[str, float]:
        """The learned temperature."""
        return {"logit_scale": self.model.logit_scale.exp().item()}

    @torch.no_grad()
    def examine(self, step: int, sheet: Path) -> dict[str, float]:
        """Share of held-out pictures whose nearest caption, of all that are held out, is theirs;
        a judge draws nothing, so there is no sheet.
        """
        if self.held_out is None:
            return {}
        self.model.eval()
        device = next(self.model.parameters()).device
        pictures, squares = self.held_out
        texts = sorted({picture.captions[0] for picture in pictures})
        ids = self._padded_ids(texts)
        captions = torch.cat(
            [self.model.encode_text(part.to(device), normalize=True) for part in ids.split(256)]
        )
        nearest: list[int] = []
        for part in squares.split(256):
            pixels = normalize_views(part.to(device) / 255, self.views)
            images = self.model.encode_image(pixels, normalize=True)
            nearest += (images @ captions.T).argmax(1).tolist()
        right = [
            texts[row] == picture.captions[0]
            for row, picture in zip(nearest, pictures, strict=True)
        ]
        return {"held_out_match": sum(right) / len(right)}

    def save(self, folder: Path) -> None:
        """A folder that open_clip reads as `local-dir:FOLDER`."""
        save_judge(self.model, self.config, self.tokenizer, folder)


def blur_view(view: Tensor, side_px: int) -> Tensor:
    """View [3,S,S] -> what is left of it at a side of a few pixels, smoothly enlarged again."""
    small = F.interpolate(view[None], side_px, mode="area")
    return F.interpolate(small, view.shape[-1], mode="bicubic")[0].clamp(0, 1)
