"""The training loop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import ceil, isfinite
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.devices import out_of_memory
from headstart.errors import TrainingError
from headstart.training.checkpoint import Checkpoint, TrainState
from headstart.training.draws import derived_seed, rows_of_step
from headstart.training.hyperparameters import Hyperparameters, Input
from headstart.training.losses import check_labels, loss_of
from headstart.training.modes import (
    exact_float32,
    in_mode,
    multiplying,
    own_randomness,
    seed_torch,
    with_batch_norm_momentum,
)
from headstart.training.multi_head import (
    MultiHeadLogits,
    no_sync,
    on_ranks,
    running_statistics,
)
from headstart.training.optimizer import make_optimizer
from headstart.training.outcome import Progress, Trained
from headstart.training.pixels import Batch, Pixels
from headstart.training.ranks import Ranks
from headstart.training.schedule import batch_norm_momentum, cosine
from headstart.training.views import training_views

__all__ = ["train"]

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
    input_spec: Input,
    hyperparameters: Hyperparameters,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    save_seconds: float = 60.0,
    identity: str = "",
    watch: Callable[[Progress], None] | None = None,
    ranks: Ranks | None = None,
) -> Trained:
    """Train a network in place, starting from a checkpoint if there is one.

    A run that was interrupted and resumed gives the same bits as one that was not, on a CPU with
    the same number of threads.

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
    checkpoint, save_seconds
        File to resume from. Written at the end and every `save_seconds` (0: at every step), less
        often if writing takes over 1 % of the time. The caller removes it.
    identity
        Identifies trial and candidate. A checkpoint of another one is refused.
    watch
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
    _check_batch(hyperparameters, len(pixels))
    if ranks:
        ranks.share(hyperparameters.batch_size)
        device = ranks.place(device)
    network.to(device).to(memory_format=torch.channels_last)
    with _conditions(network, len(pixels), hyperparameters, device, ranks):
        n_outputs = _n_outputs(network, input_spec, device)
        check_labels(labels, hyperparameters.loss, len(pixels), n_outputs)
        # Only after all ranks have joined: until then the first may still be writing it.
        whole = _whole(identity, hyperparameters, input_spec, len(pixels), ranks)
        kept = Checkpoint(checkpoint, whole, device) if checkpoint else None
        run = _Run(network, pixels, labels, input_spec, hyperparameters, device, kept, ranks)
        return run.go(save_seconds, watch)


@contextmanager
def _conditions(
    network: nn.Module,
    n_images: int,
    hyperparameters: Hyperparameters,
    device: torch.device,
    ranks: Ranks | None,
) -> Iterator[None]:
    """Join the ranks and set network, random generators and device up for training."""
    window = hyperparameters.batch_norm_window
    steps_per_epoch = n_images / hyperparameters.batch_size
    with (
        ranks.joined(device) if ranks else nullcontext(),
        own_randomness(device),
        exact_float32(device),
        in_mode(network, training=True),
        with_batch_norm_momentum(network, window and batch_norm_momentum(window, steps_per_epoch)),
    ):
        yield


def _whole(
    identity: str,
    hyperparameters: Hyperparameters,
    input_spec: Input,
    n_images: int,
    ranks: Ranks | None,
) -> str:
    """Return the full identity of a run, as checkpoints hold it."""
    # `allow_repeats` was called `repeats`: checkpoints written then stay valid.
    fields = str(hyperparameters).replace("allow_repeats=", "repeats=")
    whole = f"{identity} | {fields} | {input_spec} | {n_images} images"
    return whole + (f" | {ranks.size} ranks" if ranks else "")


class _Run:
    def __init__(
        self,
        network: nn.Module,
        pixels: Pixels,
        labels: npt.NDArray[np.int64],
        input_spec: Input,
        hyperparameters: Hyperparameters,
        device: torch.device,
        checkpoint: Checkpoint | None,
        ranks: Ranks | None,
    ) -> None:
        self.network, self.pixels, self.input_spec = network, pixels, input_spec
        self.hyperparameters, self.device, self.checkpoint = hyperparameters, device, checkpoint
        self.labels = torch.from_numpy(labels).to(device)
        size = hyperparameters.batch_size
        self.ranks, self.share = ranks, ranks.share(size) if ranks else slice(0, size)
        self.n = self.share.stop - self.share.start
        self.parts = _parts(self.n, hyperparameters.micro_batch or self.n)
        self.optimizer = make_optimizer(network, hyperparameters)
        self.state = checkpoint.load(network, self.optimizer) if checkpoint else TrainState()
        self.start = len(self.state.losses)
        self.loss = loss_of(hyperparameters)
        self.multi_head: nn.Module = self._multi_head()
        self.statistics = running_statistics(network) if ranks else []
        # Losses of updates that were not fetched from the device yet.
        self.pending: list[Tensor] = []
        self.diverged_at: int | None = None
        self.began = self.after_first = time.monotonic()

    def go(self, save_seconds: float, watch: Callable[[Progress], None] | None) -> Trained:
        saved = looked = self.began
        pause = save_seconds
        remaining = range(self.start, self.hyperparameters.steps)
        # `_step` computes the same rows again: batches are read ahead of it.
        batches = self.pixels.batches(map(self._rows, remaining))
        for step, batch in zip(remaining, batches, strict=True):
            self.pending.append(self._step_or_explain(step, batch))
            now, last = time.monotonic(), step + 1 == self.hyperparameters.steps
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
                self.checkpoint.save(self.network, self.optimizer, self.state)
                saved = time.monotonic()
                # With save_seconds=0 every step is saved, without a pause.
                pause = save_seconds and max(save_seconds, SAVE_PAUSE * (saved - began))
            if watch and (self.ranks is None or self.ranks.first):
                rate = self._images_per_second()
                watch(Progress(step + 1, self.hyperparameters.steps, loss, rate))
        return self._trained()

    def _rows(self, step: int) -> npt.NDArray[np.int64]:
        size = self.hyperparameters.batch_size
        return rows_of_step(self.hyperparameters.seed, step, size, len(self.pixels))[self.share]

    def _step_or_explain(self, step: int, batch: Batch) -> Tensor:
        try:
            return self._step(step, batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            at_once = self.hyperparameters.micro_batch or self.n
            raise TrainingError(
                f"a batch of {at_once} images of {self.input_spec.side} pixels does not fit the "
                f"memory of '{self.device}': set micro_batch to fewer, "
                f"for example {max(1, at_once // 2)} (batch norm then uses micro-batch statistics)"
            ) from error

    def _step(self, step: int, batch: Batch) -> Tensor:
        """Make one update; return the batch's mean loss before it."""
        hyperparameters = self.hyperparameters
        # Each rank draws its own dropout masks.
        which = [self.ranks.rank] if self.ranks and not self.ranks.first else []
        seed_torch(derived_seed(hyperparameters.seed, "torch", step, *which), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(hyperparameters.learning_rate, step, hyperparameters.steps)
        labels = self.labels[torch.from_numpy(self._rows(step)).to(self.device)]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part in self.parts:
            some = Batch(batch.pixels[part], batch.sizes[part])
            first = self.share.start + part.start
            views = training_views(some, self.input_spec, hyperparameters, step, first)
            with no_sync(self.multi_head, until_last=part is not self.parts[-1]):
                with multiplying(self.device, hyperparameters.precision):
                    main, *auxiliary = self.multi_head(views)
                loss = self.loss(main.float(), labels[part])
                for logits in auxiliary:
                    loss = loss + hyperparameters.auxiliary_weight * self.loss(
                        logits.float(), labels[part]
                    )
                # A mean over this rank's images: the mean over ranks is that of the whole batch.
                loss = loss / self.n
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.ranks:
            self.ranks.average([total, *self.statistics])
        self.optimizer.step()
        return total

    def _multi_head(self) -> nn.Module:
        multi_head = MultiHeadLogits(
            self.network, auxiliary=self.hyperparameters.auxiliary_weight > 0
        )
        if self.ranks is None:
            return multi_head
        self.ranks.check_same(self.start, self.device)
        blank = torch.zeros((2, 3, self.input_spec.side, self.input_spec.side), device=self.device)
        return on_ranks(multi_head, blank, self.device)

    def _look(self) -> float:
        """Fetch the pending losses and return their mean; note a loss that is not finite."""
        fresh = torch.stack(self.pending).double().tolist()
        self.pending.clear()
        good = next((i for i, loss in enumerate(fresh) if not isfinite(loss)), len(fresh))
        self.state.losses += fresh[:good]
        if good < len(fresh):
            self.diverged_at = len(self.state.losses)
        return float(np.mean(fresh))

    def _images_per_second(self) -> float | None:
        # Without the first step: it allocates memory and selects algorithms.
        done = len(self.state.losses) - self.start - 1
        elapsed = time.monotonic() - self.after_first
        return done * self.hyperparameters.batch_size / elapsed if done > 0 else None

    def _trained(self) -> Trained:
        losses = self.state.losses
        window = ceil(self.hyperparameters.steps / CURVE)
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


def _check_batch(hyperparameters: Hyperparameters, n_images: int) -> None:
    if hyperparameters.batch_size > n_images and not hyperparameters.allow_repeats:
        raise TrainingError(
            f"a batch of {hyperparameters.batch_size} is larger than the data: {n_images} images; "
            "lower batch_size"
        )


def _parts(size: int, most: int) -> list[slice]:
    """Split a batch into the fewest parts of up to `most` images; sizes differ by at most one.

    A small remainder would give batch norm poor statistics.
    """
    n = ceil(size / most)
    return [slice(size * i // n, size * (i + 1) // n) for i in range(n)]


@torch.no_grad()
def _n_outputs(network: nn.Module, input_spec: Input, device: torch.device) -> int:
    blank = torch.zeros((1, 3, input_spec.side, input_spec.side), device=device)
    with in_mode(network, training=False):
        return int(network(blank).shape[1])
