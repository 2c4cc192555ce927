"""A folder that timm loads by itself: its configuration, and what timm makes of images then."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.special import expit, softmax

from headstart.deploy.final_network import FinalNetwork
from headstart.deploy.runners import Probabilities
from headstart.errors import ExportError
from headstart.spec import Model

__all__ = ["TimmRunner", "timm_config"]

# timm's names of how a part of an image is resized: (crop_pct, crop_mode).
CROPS = {
    "whole": (1.0, "squash"),
    "full": (1.0, "squash"),
    "central": (0.875, "squash"),
    "center-crop": (1.0, "center"),
}
POOLING = {"token": "token", "mean": "avg"}
TOLERANCE = 1e-4


def timm_config(model: Model, final: FinalNetwork, licence: str | None) -> dict[str, Any]:
    """Return the content of ``config.json``, as ``timm.create_model("local-dir:...")`` reads it."""
    preprocessing = final.preprocessing
    crop_pct, crop_mode = CROPS[preprocessing.view]
    size = [3, preprocessing.size, preprocessing.size]
    config: dict[str, Any] = {
        "architecture": model.architecture,
        "num_classes": len(final.classes),
        "num_features": model.feature_dim,
        "label_names": list(final.classes),
        "model_args": _arguments(model),
        "pretrained_cfg": {
            "input_size": size,
            "interpolation": preprocessing.interpolation,
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": len(final.classes),
            "first_conv": None,
            "classifier": None,
        },
    }
    if licence:
        config["pretrained_cfg"]["license"] = licence
    return config


def _arguments(model: Model) -> dict[str, Any]:
    """Return the arguments of its constructor that are not as usual."""
    import timm
    import torch

    found: dict[str, Any] = {"global_pool": POOLING[model.pool]} if model.pool else {}
    usual = timm.get_pretrained_cfg(model.architecture)
    if usual is None or not usual.input_size or usual.input_size[-1] == model.input_size:
        return found
    try:
        with torch.device("meta"):
            timm.create_model(model.architecture, img_size=model.input_size)
    except TypeError:
        # A convolutional network: it takes images of any size, and no such argument.
        return found
    return {**found, "img_size": model.input_size}


class TimmRunner:
    """What timm alone makes of a folder: its network and its own transform of images.

    Raises
    ------
    ExportError
        The folder does not give the network that was written (``export.differs``).
    """

    def __init__(self, folder: Path, final: FinalNetwork) -> None:
        import timm
        import torch

        self._several = final.several
        self._network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        data = timm.data.resolve_model_data_config(self._network)
        self._transform = timm.data.create_transform(**data, is_training=False)
        size = final.preprocessing.size
        images = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected, found = final.network(images), self._network(images)
        difference = float((expected - found).abs().max())
        # Written so that NaN counts as a difference.
        if not difference <= TOLERANCE * float(expected.abs().max()):
            raise ExportError(
                f"timm builds another network of this folder: its logits differ by up to "
                f"{difference:.2g}; nothing was written: use --to onnx or --to torch",
                code="export.differs",
                name="timm",
                largest=difference,
                tolerance=TOLERANCE,
            )

    def __call__(self, images: Sequence[Image.Image]) -> Probabilities:
        import torch

        with torch.inference_mode():
            batch = torch.stack([self._transform(image.convert("RGB")) for image in images])
            scores = self._network(batch).numpy()
        shares = expit(scores) if self._several else softmax(scores, axis=1)
        return np.asarray(shares, dtype=np.float32)
