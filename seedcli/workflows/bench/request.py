"""What `seed bench tokenize` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from seedcli.options import (
    WHERE,
    Argument,
    BatchSizeOption,
    DecodersOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    Option,
)


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What is measured: with the first pictures of `inputs`, which are read again and again, or
    with pictures that are made for it.
    """

    inputs: Annotated[
        tuple[str, ...],
        Argument("Pictures as seed tokenize takes them; none: some are made.", metavar="INPUT"),
    ] = ()
    image_size_px: Annotated[
        int, Option("Longer side of pictures that are made.", "--image-size", metavar="PX", min=16)
    ] = 256
    model: ModelOption = "seed-nano"
    random_weights: Annotated[
        bool, Option("Random weights of its shape; its own need not be here.", panel=WHERE)
    ] = False
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    batch_size: BatchSizeOption = 32
    workers: DecodersOption = None
    seconds: Annotated[
        float, Option("Of each of the three measurements, after it has warmed up.", min=0.01)
    ] = 10.0

    def check(self) -> None:
        """Looks for the pictures, before anything imports torch.

        Raises:
            DataError: One of `inputs` is not there.
        """
        from seedcli.data.images.inputs import list_inputs

        if self.inputs:
            list_inputs(self.inputs)
