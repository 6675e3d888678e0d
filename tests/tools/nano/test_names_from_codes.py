"""A reader of codes, on made-up pictures."""

from __future__ import annotations

import torch

from tools.nano.names_from_codes import learn_names, right


def test_a_reader_learns_which_codes_a_name_has() -> None:
    """Eight names; the first three of six codes say which, the others nothing."""
    torch.manual_seed(0)
    names = torch.arange(512) % 8
    codes = torch.randint(0, 16, (512, 6))
    codes[:, :3] = torch.stack([names % 2, names // 2 % 2, names // 4], 1)
    reader = learn_names(codes, names, num_codes=16, passes=300)
    assert right(reader, codes, names)["top1"] > 95
    others = torch.randint(0, 16, (512, 6))
    others[:, :3] = codes[:, :3]
    assert right(reader, others, names)["top1"] > 95
    first_two = names < 2
    told = right(reader, others[first_two], names[first_two], among=torch.tensor([2, 3]))
    assert told["top1"] == 0
