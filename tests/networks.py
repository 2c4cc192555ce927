"""What tests of networks share: images, and modules of random weights."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from headstart import models
from headstart.models.network import Network


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw from this seed, and leave the generator of the test as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def images(size: int, n: int = 2, seed: int = 0) -> torch.Tensor:
    """Return (n, 3, size, size) float32 standard normal images."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def relative(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the distance of each row, relative to the length of what is expected."""
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


def saved(content: object, **options) -> bytes:
    """Return the bytes of a file as `torch.save` writes it."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8,
       "intermediate_size": 16, "image_size": 32, "num_labels": 3}  # fmt: skip


def save_vit(folder: Path, kind="ViTForImageClassification", seed=0, options=None, **fields):
    """Save a small vision transformer as its authors would; return it too."""
    import transformers

    with warnings.catch_warnings(), seeded(seed):
        warnings.simplefilter("ignore")
        config = transformers.ViTConfig(**{**VIT, **fields})
        network = getattr(transformers, kind)(config, **(options or {})).eval()
    network.save_pretrained(folder)
    return network


def load(name: str, **options) -> Network:
    """Find a model by its name, and load its network."""
    return models.load(models.find(name), **options)
