"""The training loop: a network and images in, the same network trained out."""

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
from headstart.training.answers import (
    Answers,
    gradients_kept_apart,
    on_ranks,
    running_statistics,
)
from headstart.training.checkpoint import Checkpoint, Point
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
from headstart.training.optimizer import make_optimizer
from headstart.training.outcome import Progress, Trained
from headstart.training.pixels import Batch, Pixels
from headstart.training.ranks import Ranks
from headstart.training.schedule import batch_norm_momentum, cosine
from headstart.training.views import training_views

__all__ = ["train"]

# Points of a curve of losses, at most.
CURVE = 200
# How often the losses are looked at: a GPU is waited for then.
LOOK_SECONDS = 0.2
# The same in steps where there are several ranks, which have to look at the same ones.
LOOK_STEPS = 10
# A checkpoint waits this many times as long as the last one took to write.
SAVE_PAUSE = 100


def train(
    network: nn.Module,
    pixels: Pixels,
    labels: npt.NDArray[np.int64],
    taken: Input,
    hyperparameters: Hyperparameters,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    save_seconds: float = 60.0,
    identity: str = "",
    watch: Callable[[Progress], None] | None = None,
    ranks: Ranks | None = None,
) -> Trained:
    """Train a network in place, from where a checkpoint says, else from the start.

    Interrupted at any moment and called again with the same arguments and the network as it was,
    a run gives the same bits on a processor with the same number of threads.

    Parameters
    ----------
    network
        (B, 3, side, side) float32 images -> (B, K) logits; if auxiliary classifiers have a loss,
        `all_logits` gives these, then theirs. Moved to the device; its modes are given back.
    pixels, labels
        The images, and (n,) int64 classes for ``"softmax"`` or (n, K) for ``"binary"`` loss: 1
        present, -1 absent, 0 left out.
    taken
        What the network takes.
    checkpoint, save_seconds
        File to carry on from, written at the end and every so often (0: at every step; less often
        where that takes over a hundredth of the time). Removed by the caller.
    identity
        The trial and the candidate: a checkpoint of another, or of another run, is refused.
    watch
        Told how far it is, a few times a second; by the first rank alone.
    ranks
        Processes that train together, called with the same arguments; all read the checkpoint.

    Raises
    ------
    TrainingError
        A batch does not fit data, ranks or memory, labels do not fit the head, nothing is
        trainable, or a checkpoint is of another run.
    DeviceError, StorageError
        There are fewer GPUs than ranks; a checkpoint cannot be written or read.
    """
    _check_batch(hyperparameters, len(pixels))
    if ranks:
        ranks.share(hyperparameters.batch_size)
        device = ranks.place(device)
    network.to(device).to(memory_format=torch.channels_last)
    with _conditions(network, len(pixels), hyperparameters, device, ranks):
        check_labels(labels, hyperparameters.loss, len(pixels), _n_outputs(network, taken, device))
        # Not before ranks have met: the first one may be writing it still.
        whole = _whole(identity, hyperparameters, taken, len(pixels), ranks)
        kept = Checkpoint(checkpoint, whole, device) if checkpoint else None
        run = _Run(network, pixels, labels, taken, hyperparameters, device, kept, ranks)
        return run.go(save_seconds, watch)


@contextmanager
def _conditions(
    network: nn.Module,
    n_images: int,
    hyperparameters: Hyperparameters,
    device: torch.device,
    ranks: Ranks | None,
) -> Iterator[None]:
    """Inside, ranks have met, and network and device are as training wants them."""
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
    taken: Input,
    n_images: int,
    ranks: Ranks | None,
) -> str:
    """All that a run is, and a checkpoint is for."""
    whole = f"{identity} | {hyperparameters} | {taken} | {n_images} images"
    return whole + (f" | {ranks.size} ranks" if ranks else "")


class _Run:
    def __init__(
        self,
        network: nn.Module,
        pixels: Pixels,
        labels: npt.NDArray[np.int64],
        taken: Input,
        hyperparameters: Hyperparameters,
        device: torch.device,
        checkpoint: Checkpoint | None,
        ranks: Ranks | None,
    ) -> None:
        self.network, self.pixels, self.taken = network, pixels, taken
        self.hyperparameters, self.device, self.checkpoint = hyperparameters, device, checkpoint
        self.labels = torch.from_numpy(labels).to(device)
        size = hyperparameters.batch_size
        self.ranks, self.share = ranks, ranks.share(size) if ranks else slice(0, size)
        self.n = self.share.stop - self.share.start
        self.parts = _parts(self.n, hyperparameters.micro_batch or self.n)
        self.optimizer = make_optimizer(network, hyperparameters)
        self.point = checkpoint.load(network, self.optimizer) if checkpoint else Point()
        self.start = len(self.point.losses)
        self.loss = loss_of(hyperparameters)
        self.answers: nn.Module = self._answers()
        self.statistics = running_statistics(network) if ranks else []
        # Losses of updates that were not looked at yet, on the device.
        self.pending: list[Tensor] = []
        self.diverged_at: int | None = None
        self.began = self.after_first = time.monotonic()

    def go(self, save_seconds: float, watch: Callable[[Progress], None] | None) -> Trained:
        saved = looked = self.began
        pause = save_seconds
        remaining = range(self.start, self.hyperparameters.steps)
        # Twice the same rows: where images are read ahead, those of later steps are planned first.
        batches = self.pixels.batches(map(self._rows, remaining))
        for step, batch in zip(remaining, batches, strict=True):
            self.pending.append(self._step_or_say_why(step, batch))
            now, last = time.monotonic(), step + 1 == self.hyperparameters.steps
            saving = last or now - saved >= pause
            late = now - looked >= LOOK_SECONDS
            if self.ranks:
                # Clocks differ, and ranks have to end at the same step.
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
                self.checkpoint.save(self.network, self.optimizer, self.point)
                saved = time.monotonic()
                # Nothing is waited for where every step is to be kept.
                pause = save_seconds and max(save_seconds, SAVE_PAUSE * (saved - began))
            if watch and (self.ranks is None or self.ranks.first):
                rate = self._images_per_second()
                watch(Progress(step + 1, self.hyperparameters.steps, loss, rate))
        return self._trained()

    def _rows(self, step: int) -> npt.NDArray[np.int64]:
        size = self.hyperparameters.batch_size
        return rows_of_step(self.hyperparameters.seed, step, size, len(self.pixels))[self.share]

    def _step_or_say_why(self, step: int, batch: Batch) -> Tensor:
        try:
            return self._step(step, batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            at_once = self.hyperparameters.micro_batch or self.n
            raise TrainingError(
                f"a batch of {at_once} images of {self.taken.side} pixels does not fit the memory "
                f"of '{self.device}': set micro_batch to fewer, {max(1, at_once // 2)} for example "
                "(batch norm then sees no more than these at once)"
            ) from error

    def _step(self, step: int, batch: Batch) -> Tensor:
        """Update once; give the loss before it."""
        hyperparameters = self.hyperparameters
        # Every rank drops something else.
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
            views = training_views(some, self.taken, hyperparameters, step, first)
            with gradients_kept_apart(self.answers, until_last=part is not self.parts[-1]):
                with multiplying(self.device, hyperparameters.precision):
                    main, *auxiliary = self.answers(views)
                loss = self.loss(main.float(), labels[part])
                for logits in auxiliary:
                    loss = loss + hyperparameters.auxiliary_weight * self.loss(
                        logits.float(), labels[part]
                    )
                # Of this rank's images: the mean over ranks is that of the batch.
                loss = loss / self.n
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.ranks:
            self.ranks.average([total, *self.statistics])
        self.optimizer.step()
        return total

    def _answers(self) -> nn.Module:
        answers = Answers(self.network, auxiliary=self.hyperparameters.auxiliary_weight > 0)
        if self.ranks is None:
            return answers
        self.ranks.check_same(self.start, self.device)
        blank = torch.zeros((2, 3, self.taken.side, self.taken.side), device=self.device)
        return on_ranks(answers, blank, self.device)

    def _look(self) -> float:
        """Fetch the pending losses; their mean, unless one is not finite."""
        fresh = torch.stack(self.pending).double().tolist()
        self.pending.clear()
        good = next((i for i, loss in enumerate(fresh) if not isfinite(loss)), len(fresh))
        self.point.losses += fresh[:good]
        if good < len(fresh):
            self.diverged_at = len(self.point.losses)
        return float(np.mean(fresh))

    def _images_per_second(self) -> float | None:
        # The first step in a process finds algorithms and memory.
        done = len(self.point.losses) - self.start - 1
        elapsed = time.monotonic() - self.after_first
        return done * self.hyperparameters.batch_size / elapsed if done > 0 else None

    def _trained(self) -> Trained:
        losses = self.point.losses
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
            notes=tuple(self.point.notes),
        )


def _check_batch(hyperparameters: Hyperparameters, n_images: int) -> None:
    if hyperparameters.batch_size > n_images and not hyperparameters.repeats:
        raise TrainingError(
            f"a batch of {hyperparameters.batch_size} is larger than the data: {n_images} images; "
            "lower batch_size"
        )


def _parts(size: int, most: int) -> list[slice]:
    """Cut a batch into the fewest parts of `most` images; sizes differ by one at most.

    No small rest remains, of which batch norm would have no statistics.
    """
    n = ceil(size / most)
    return [slice(size * i // n, size * (i + 1) // n) for i in range(n)]


@torch.no_grad()
def _n_outputs(network: nn.Module, taken: Input, device: torch.device) -> int:
    blank = torch.zeros((1, 3, taken.side, taken.side), device=device)
    with in_mode(network, training=False):
        return int(network(blank).shape[1])
