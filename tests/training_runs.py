"""Small networks and images to train, the same in every process."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from headstart.spec import SGD, TrainingConfig
from headstart.training import CheckpointOptions, InputSpec, train
from headstart.training.loop import Trained
from headstart.training.pixels import Batch

SIDE, N_CLASSES, N_IMAGES = 12, 4, 40
INPUT = InputSpec(side=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), interpolation="bilinear")
CPU = torch.device("cpu")
# Images as they are, but for mirroring.
CONFIG = TrainingConfig(
    steps=12,
    learning_rate=0.1,
    optimizer=SGD(weight_decay=1e-3),
    batch_size=8,
    crop_area=(1, 1),
    crop_aspect=(1, 1),
)


def configured(**options) -> TrainingConfig:
    """`CONFIG` with other options, those of the optimizer among them."""
    own = {name: options.pop(name) for name in SGD.model_fields if name in options}
    return CONFIG.replace(**options, optimizer=CONFIG.optimizer.replace(**own))


class SomePixels:
    """Images in memory; each class has a brightness."""

    def __init__(self, n: int = N_IMAGES) -> None:
        random = np.random.RandomState(0)
        levels = 40 + 50 * (np.arange(n) % N_CLASSES)
        noise = random.randint(-40, 40, (n, 3, SIDE, SIDE))
        self.images = torch.from_numpy((levels[:, None, None, None] + noise).clip(0, 255))
        self.images = self.images.to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> Batch:
        return Batch(self.images[torch.from_numpy(rows)], np.full((len(rows), 2), SIDE))

    def batches(self, plan: Iterable[np.ndarray]) -> Iterator[Batch]:
        return map(self.batch, plan)


LABELS = np.arange(N_IMAGES, dtype=np.int64) % N_CLASSES


def small_network(dropout: float = 0.3, norm: bool = True) -> nn.Sequential:
    """Convolutions, batch norms, dropout and a classifier, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(16, N_CLASSES),
        )


def run(
    network,
    config=CONFIG,
    labels=LABELS,
    pixels=None,
    checkpoint=None,
    on_progress=None,
    ranks=None,
    **kept,
) -> Trained:
    """Train a network on the small images, on this processor; `kept` is how a file is kept."""
    checkpoint = CheckpointOptions(checkpoint, **kept) if checkpoint else None
    options = {"checkpoint": checkpoint, "on_progress": on_progress, "ranks": ranks}
    return train(network, pixels or SomePixels(), labels, INPUT, config, device=CPU, **options)
