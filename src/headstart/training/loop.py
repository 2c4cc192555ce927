"""The training loop: losses, schedule and optimizer, and the updates."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.devices import out_of_memory
from headstart.errors import TrainingError
from headstart.spec import TrainingConfig
from headstart.threads import look_again, sharing_cpus
from headstart.training.augmentation import InputSpec, derived_seed, rows_of_step, training_views
from headstart.training.checkpoint import Checkpoint, CheckpointOptions, TrainState
from headstart.training.forward import (
    MultiHeadLogits,
    exact_float32,
    in_mode,
    multiplying,
    own_randomness,
    seed_torch,
    with_batch_norm_momentum,
)
from headstart.training.pixels import Batch, Pixels
from headstart.training.ranks import Ranks, no_sync, on_ranks, running_statistics

__all__ = [
    "Progress",
    "Trained",
    "batch_norm_momentum",
    "binary",
    "check_labels",
    "cosine",
    "decaying",
    "loss_of",
    "make_optimizer",
    "softmax",
    "train",
    "trainable",
]


@dataclass(frozen=True)
class Progress:
    """Progress of a training run.

    Parameters
    ----------
    step, steps
        Updates done, and in total.
    loss
        Mean loss since the last report.
    images_per_second
        Rate in this process, without its first step (setup); None until the second step.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float | None


@dataclass(frozen=True)
class Trained:
    """Outcome of a training run, besides the network.

    Parameters
    ----------
    steps
        Updates with a finite loss, including those before an interruption.
    losses, window
        Mean loss of each `window` updates, at most 200 values; the last may average fewer.
    seconds
        Time in this process.
    images_per_second
        Rate in this process, without its first step; None with fewer than two steps.
    diverged_at
        The first update (from 0) with a loss that is not finite. The run ended there, and the
        network is unusable.
    resumed_at
        Step of the checkpoint that the run resumed from, if any.
    notes
        Messages for the user.
    """

    steps: int
    losses: tuple[float, ...]
    window: int
    seconds: float
    images_per_second: float | None
    diverged_at: int | None = None
    resumed_at: int | None = None
    notes: tuple[str, ...] = ()


# Largest momentum of batch norm: running statistics keep at least 0.9 of their value per step.
MOST_REPLACED = 0.1
# Largest number of points of a loss curve.
CURVE = 200
# How often losses are fetched from the device; fetching waits for a GPU.
LOOK_SECONDS = 0.2
# The same in steps if there are several ranks: all must fetch at the same steps.
LOOK_STEPS = 10
# The pause between two checkpoints is at least this many times the time one takes to write.
SAVE_PAUSE = 100


def train(
    network: nn.Module,
    pixels: Pixels,
    labels: npt.NDArray[np.int64],
    input_spec: InputSpec,
    config: TrainingConfig,
    *,
    device: torch.device,
    checkpoint: CheckpointOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    ranks: Ranks | None = None,
) -> Trained:
    """Train a network in place, starting from a checkpoint if there is one.

    On a CPU with the same number of threads, an interrupted and resumed run gives the same bits.

    Parameters
    ----------
    network
        (B, 3, side, side) float32 images -> (B, K) logits. With an auxiliary loss, its method
        `all_logits` returns these, then the auxiliary ones. Moved to the device; modes restored.
    pixels, labels
        The images, and (n,) int64 classes for ``"softmax"`` or (n, K) for ``"binary"`` loss: 1
        present, -1 absent, 0 ignored.
    input_spec
        Input size and normalization of the network.
    checkpoint
        What to resume from, and how often to write it; None keeps nothing.
    on_progress
        Receives the progress a few times per second, on the first rank only.
    ranks
        Processes that train together, called with the same arguments; all read the checkpoint.

    Raises
    ------
    TrainingError
        The batch size does not fit data, ranks or memory; labels do not fit the head; no
        parameter is trainable; the checkpoint belongs to another run.
    DeviceError, StorageError
        Fewer GPUs than ranks; the checkpoint cannot be written or read.
    """
    _check_batch(config, len(pixels))
    if ranks:
        ranks.share(config.batch_size)
        device = ranks.place(device)
    network.to(device).to(memory_format=torch.channels_last)
    with _conditions(network, len(pixels), config, device, ranks):
        blank = torch.zeros((1, 3, input_spec.side, input_spec.side), device=device)
        with torch.no_grad(), in_mode(network, training=False):
            n_outputs = int(network(blank).shape[1])
        check_labels(labels, config.loss, len(pixels), n_outputs)
        # Only after all ranks have joined: until then the first may still be writing it.
        kept = None
        if checkpoint:
            whole = _whole(checkpoint.identity, config, input_spec, len(pixels), ranks)
            kept = Checkpoint(checkpoint, whole, device)
        run = _Run(network, pixels, labels, input_spec, config, device, kept, ranks)
        return run.go(checkpoint.save_seconds if checkpoint else math.inf, on_progress)


def _check_batch(config: TrainingConfig, n_images: int) -> None:
    if config.batch_size > n_images and not config.allow_repeats:
        raise TrainingError(
            f"a batch of {config.batch_size} is larger than the data: {n_images} images; "
            "lower batch_size",
            code="training.batch_too_large",
            batch_size=config.batch_size,
            n_images=n_images,
        )


@contextmanager
def _conditions(
    network: nn.Module,
    n_images: int,
    config: TrainingConfig,
    device: torch.device,
    ranks: Ranks | None,
) -> Iterator[None]:
    """Join the ranks and set network, random generators and device up for training."""
    window = config.batch_norm_window
    steps_per_epoch = n_images / config.batch_size
    with (
        ranks.joined(device) if ranks else nullcontext(),
        # Not fewer threads: results must not depend on who else works on the machine.
        sharing_cpus(give_up=0),
        own_randomness(device),
        exact_float32(device),
        in_mode(network, training=True),
        with_batch_norm_momentum(network, window and batch_norm_momentum(window, steps_per_epoch)),
    ):
        yield


# The order in which the identity of a run has its configuration; other fields follow.
IDENTITY = (
    "steps", "learning_rate", "weight_decay", "batch_size", "decayed", "momentum", "nesterov",
    "batch_norm_window", "loss", "label_smoothing", "auxiliary_weight", "crop_area", "crop_aspect",
    "flip", "micro_batch", "allow_repeats", "precision", "seed",
)  # fmt: skip


def _whole(
    identity: str, config: TrainingConfig, input_spec: InputSpec, n_images: int, ranks: Ranks | None
) -> str:
    """Return the full identity of a run, as checkpoints hold it.

    The names are those of the version that introduced checkpoints, which stay valid.
    """
    options = config.options
    if options["optimizer"] == "sgd":
        del options["optimizer"]
    names = sorted(options, key=lambda name: (*IDENTITY, name).index(name))
    fields = ", ".join(f"{name}={options[name]!r}" for name in names)
    fields = fields.replace("allow_repeats=", "repeats=")
    spec = str(input_spec).replace("InputSpec(", "Input(")
    whole = f"{identity} | Hyperparameters({fields}) | {spec} | {n_images} images"
    return whole + (f" | {ranks.size} ranks" if ranks else "")


class _Run:
    def __init__(
        self,
        network: nn.Module,
        pixels: Pixels,
        labels: npt.NDArray[np.int64],
        input_spec: InputSpec,
        config: TrainingConfig,
        device: torch.device,
        checkpoint: Checkpoint | None,
        ranks: Ranks | None,
    ) -> None:
        self.network, self.pixels, self.input_spec = network, pixels, input_spec
        self.config, self.device, self.checkpoint = config, device, checkpoint
        self.labels = torch.from_numpy(labels).to(device)
        size = config.batch_size
        self.ranks, self.share = ranks, ranks.share(size) if ranks else slice(0, size)
        self.n = self.share.stop - self.share.start
        self.parts = _parts(self.n, config.micro_batch or self.n)
        self.optimizer = make_optimizer(network, config)
        self.state = checkpoint.load(network, self.optimizer) if checkpoint else TrainState()
        self.start = len(self.state.losses)
        self.loss = loss_of(config)
        self.multi_head: nn.Module = self._multi_head()
        self.statistics = running_statistics(network) if ranks else []
        # Losses of updates that were not fetched from the device yet.
        self.pending: list[Tensor] = []
        self.diverged_at: int | None = None
        self.began = self.after_first = time.monotonic()

    def go(self, save_seconds: float, on_progress: Callable[[Progress], None] | None) -> Trained:
        saved = looked = self.began
        pause = save_seconds
        remaining = range(self.start, self.config.steps)
        # `_step` computes the same rows again: batches are read ahead of it.
        batches = self.pixels.batches(map(self._rows, remaining))
        for step, batch in zip(remaining, batches, strict=True):
            look_again()
            self.pending.append(self._step_or_explain(step, batch))
            now, last = time.monotonic(), step + 1 == self.config.steps
            saving = last or now - saved >= pause
            late = now - looked >= LOOK_SECONDS
            if self.ranks:
                # Clocks differ between ranks, and all must stop at the same step.
                late = saving = last or not save_seconds or (step + 1) % LOOK_STEPS == 0
                saving = saving and (last or now - saved >= pause) and self.ranks.first
            if step > self.start and not saving and not late:
                continue
            looked, loss = now, self._look()
            if self.diverged_at is not None:
                break
            if step == self.start:
                self.after_first = time.monotonic()
            if saving and self.checkpoint:
                began = time.monotonic()
                # The last one is removed as soon as the run is scored: it is not worth a copy.
                self.checkpoint.save(self.network, self.optimizer, self.state, share=not last)
                saved = time.monotonic()
                # With save_seconds=0 every step is saved, without a pause.
                pause = save_seconds and max(save_seconds, SAVE_PAUSE * (saved - began))
            if on_progress and (self.ranks is None or self.ranks.first):
                rate = self._images_per_second()
                on_progress(Progress(step + 1, self.config.steps, loss, rate))
        return self._trained()

    def _rows(self, step: int) -> npt.NDArray[np.int64]:
        size = self.config.batch_size
        return rows_of_step(self.config.seed, step, size, len(self.pixels))[self.share]

    def _step_or_explain(self, step: int, batch: Batch) -> Tensor:
        try:
            return self._step(step, batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            at_once = self.config.micro_batch or self.n
            raise TrainingError(
                f"a batch of {at_once} images of {self.input_spec.side} pixels does not fit the "
                f"memory of '{self.device}': set micro_batch to fewer, "
                f"for example {max(1, at_once // 2)} (batch norm then uses micro-batch statistics)",
                code="training.out_of_memory",
                batch_size=at_once,
            ) from error

    def _step(self, step: int, batch: Batch) -> Tensor:
        """Make one update; return the batch's mean loss before it."""
        config = self.config
        # Each rank draws its own dropout masks.
        which = [self.ranks.rank] if self.ranks and not self.ranks.first else []
        seed_torch(derived_seed(config.seed, "torch", step, *which), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(config.learning_rate, step, config.steps)
        labels = self.labels[torch.from_numpy(self._rows(step)).to(self.device)]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part in self.parts:
            some = Batch(batch.pixels[part], batch.sizes[part])
            first = self.share.start + part.start
            views = training_views(some, self.input_spec, config, step, first)
            with no_sync(self.multi_head, until_last=part is not self.parts[-1]):
                with multiplying(self.device, config.precision):
                    main, *auxiliary = self.multi_head(views)
                loss = self.loss(main.float(), labels[part])
                for logits in auxiliary:
                    loss = loss + config.auxiliary_weight * self.loss(logits.float(), labels[part])
                # A mean over this rank's images: the mean over ranks is that of the whole batch.
                loss = loss / self.n
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.ranks:
            self.ranks.average([total, *self.statistics])
        self.optimizer.step()
        return total

    def _multi_head(self) -> nn.Module:
        multi_head = MultiHeadLogits(self.network, auxiliary=self.config.auxiliary_weight > 0)
        if self.ranks is None:
            return multi_head
        self.ranks.check_same(self.start, self.device)
        blank = torch.zeros((2, 3, self.input_spec.side, self.input_spec.side), device=self.device)
        return on_ranks(multi_head, blank, self.device)

    def _look(self) -> float:
        """Fetch the pending losses and return their mean; note a loss that is not finite."""
        fresh = torch.stack(self.pending).double().tolist()
        self.pending.clear()
        good = next((i for i, loss in enumerate(fresh) if not math.isfinite(loss)), len(fresh))
        self.state.losses += fresh[:good]
        if good < len(fresh):
            self.diverged_at = len(self.state.losses)
        return float(np.mean(fresh))

    def _images_per_second(self) -> float | None:
        # Without the first step: it allocates memory and selects algorithms.
        done = len(self.state.losses) - self.start - 1
        elapsed = time.monotonic() - self.after_first
        return done * self.config.batch_size / elapsed if done > 0 else None

    def _trained(self) -> Trained:
        losses = self.state.losses
        window = math.ceil(self.config.steps / CURVE)
        means = [np.mean(losses[i : i + window]) for i in range(0, len(losses), window)]
        return Trained(
            steps=len(losses),
            losses=tuple(map(float, means)),
            window=window,
            seconds=time.monotonic() - self.began,
            images_per_second=self._images_per_second(),
            diverged_at=self.diverged_at,
            resumed_at=self.start or None,
            notes=tuple(self.state.notes),
        )


def _parts(size: int, most: int) -> list[slice]:
    """Split a batch into the fewest parts of up to `most` images; sizes differ by at most one.

    A small remainder would give batch norm poor statistics.
    """
    n = math.ceil(size / most)
    return [slice(size * i // n, size * (i + 1) // n) for i in range(n)]


def cosine(peak: float, step: int, steps: int) -> float:
    """Return the learning rate of update `step` (from 0) of `steps`: half a cosine.

    ``peak / 2 (1 + cos(pi step / steps))``: the first update has `peak`, and the one after the last
    would have zero (Loshchilov & Hutter 2017, without restarts).
    """
    return peak / 2 * (1 + math.cos(math.pi * step / steps))


def batch_norm_momentum(window: float, steps_per_epoch: float) -> float:
    """Return batch norm's `momentum` in torch's convention: the fraction that a batch replaces.

    Running statistics keep ``max(1 - window / steps_per_epoch, 0.9)`` of their value (Kornblith et
    al. 2019, with a window of 10), so they average over about ``1 / window`` of an epoch.
    """
    return min(window / steps_per_epoch, MOST_REPLACED)


def softmax(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the softmax cross-entropy of (B, K) float32 logits, summed over images.

    `labels` are (B,) int64 classes. The target is ``1 - smoothing`` at an image's class plus
    ``smoothing / K`` at every class (Szegedy et al. 2016, section 7).
    """
    return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


def binary(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logistic loss of (B, K) float32 logits, summed over images and classes.

    It is a sum over classes, not a mean: each class gets the same gradient as a separate
    regression would give, regardless of the number of classes. `labels` are (B, K) int64: 1
    present, -1 absent, 0 ignored (no loss, no gradient).
    """
    return functional.binary_cross_entropy_with_logits(
        logits,
        (labels > 0).to(logits.dtype),
        weight=(labels != 0).to(logits.dtype),
        reduction="sum",
    )


def loss_of(config: TrainingConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss function of (logits, labels)."""
    if config.loss == "binary":
        return binary
    return partial(softmax, smoothing=config.label_smoothing)


def check_labels(labels: npt.NDArray[np.int64], loss: str, n_images: int, n_outputs: int) -> None:
    """Raise TrainingError for labels that do not fit the data and the head, by shape or value.

    They have to be (n,) for softmax loss, (n, K) for binary loss.
    """
    expected = f"({n_images},)" if loss == "softmax" else f"({n_images}, {n_outputs})"
    shape = str(tuple(labels.shape))
    if shape != expected:
        raise TrainingError(
            f"labels: expected shape {expected} for {loss} loss, {n_images} images and a head of "
            f"{n_outputs} outputs, found {shape}",
            code="training.labels_shape",
            expected=expected,
            found=shape,
        )
    if loss == "softmax":
        invalid, allowed = (labels < 0) | (labels >= n_outputs), f"0 to {n_outputs - 1}"
    else:
        invalid, allowed = ~np.isin(labels, (-1, 0, 1)), "1, 0 (left out) or -1"
    places = np.argwhere(invalid)
    if len(places):
        raise TrainingError(
            f"labels: expected {allowed} for a head of {n_outputs} outputs, found "
            f"{labels[tuple(places[0])]} at image {places[0][0]}",
            code="training.labels_range",
            found=int(labels[tuple(places[0])]),
            image=int(places[0][0]),
        )


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return all parameters that are not frozen, by name, each once.

    Raises
    ------
    TrainingError
        All parameters are frozen.
    """
    found = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not found:
        raise TrainingError(
            f"{type(network).__name__} has no trainable parameters: expected a network with some "
            "that are not frozen (requires_grad)",
            code="training.all_frozen",
        )
    return found


def decaying(parameters: dict[str, nn.Parameter], decayed: Literal["weights", "all"]) -> set[str]:
    """Return the names of parameters with weight decay.

    ``"weights"`` selects weights of convolutions and linear layers: parameters named ``weight``
    with two dimensions or more. It excludes biases, scales and offsets of batch norms, layer
    scales, position embeddings and tokens.
    """
    if decayed == "all":
        return set(parameters)
    return {name for name, p in parameters.items() if name.endswith("weight") and p.ndim > 1}


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer; the training loop sets its learning rate at each step.

    It is torch's fused SGD. On a CPU it gives the same bits as the plain one in less than half
    the time.
    """
    parameters, chosen = trainable(network), config.optimizer
    shrinking = decaying(parameters, chosen.decayed)
    groups = [
        {"params": [p for name, p in parameters.items() if name in shrinking],
         "weight_decay": chosen.weight_decay},
        {"params": [p for name, p in parameters.items() if name not in shrinking],
         "weight_decay": 0.0},
    ]  # fmt: skip
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        momentum=chosen.momentum,
        # Torch raises an error for Nesterov's momentum of 0.
        nesterov=chosen.nesterov and chosen.momentum > 0,
        fused=True,
    )
