import numpy as np
import pytest
import torch
from torch import nn

from headstart.spec import TrainingConfig
from headstart.training.augmentation import rows_of_step, training_views
from headstart.training.loop import Progress
from headstart.training.pixels import MappedPixels, ResidentPixels
from refusals import refused
from training_runs import (
    CONFIG,
    CPU,
    INPUT,
    LABELS,
    N_CLASSES,
    N_IMAGES,
    SIDE,
    SomePixels,
    configured,
    run,
    small_network,
)  # fmt: skip


def linear() -> tuple[nn.Module, nn.Module]:
    """Layers of a classifier of pixels."""
    return nn.Flatten(), nn.Linear(3 * SIDE * SIDE, N_CLASSES)


class Spy(nn.Module):
    """Keeps what goes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(values.detach().clone())
        return values


def spied(dropout: float = 0.5, at: int = 9) -> tuple[nn.Sequential, Spy]:
    """Put a spy behind dropout."""
    network, spy = small_network(dropout), Spy()
    network.insert(at, spy)
    return network, spy


def test_it_learns():
    network = small_network(dropout=0)
    trained = run(network, configured(steps=200, learning_rate=0.05))
    assert trained.steps == 200
    assert np.mean(trained.losses[:5]) > 1
    assert np.mean(trained.losses[-20:]) < 0.4
    assert (trained.diverged_at, trained.resumed_at, trained.notes) == (None, None, ())


@pytest.mark.parametrize(("window", "kept"), [(10, 0.9), (0.25, 0.95), (None, 0.7)])
def test_running_statistics_after_some_batches(window, kept):
    # Five steps an epoch. A batch norm that sees the images themselves.
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), *linear())
    config = configured(steps=7, batch_norm_window=window)
    run(network, config)
    mean, variance, pixels = np.zeros(3), np.ones(3), SomePixels()
    for step in range(7):
        rows = rows_of_step(0, step, 8, N_IMAGES)
        x = training_views(pixels.batch(rows), INPUT, config, step).double().numpy()
        mean = kept * mean + (1 - kept) * x.mean(axis=(0, 2, 3))
        variance = kept * variance + (1 - kept) * x.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(network[0].running_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(network[0].running_var, variance, rtol=1e-4)
    assert network[0].num_batches_tracked == 7
    assert network[0].momentum == 0.3


def test_modes_are_training_and_given_back():
    network, spy = spied()
    network.eval()
    network[0].train()
    run(network, configured(steps=2))
    # The spy keeps what it sees in training mode.
    assert len(spy.seen) == 2
    assert [module.training for module in network] == [True] + [False] * 10


def test_dropout_is_active_scaled_and_new_at_every_step():
    network, spy = spied()
    run(network)
    dropped = torch.stack([seen == 0 for seen in spy.seen]).float()
    assert 0.4 < dropped.mean() < 0.75
    masks = {tuple(mask.flatten().tolist()) for mask in dropped}
    assert len(masks) == CONFIG.steps


def test_parts_of_a_batch_have_masks_of_their_own():
    # Nothing but dropout makes zeros before this classifier.
    flatten, classifier = linear()
    network = nn.Sequential(flatten, nn.Dropout(0.5), Spy(), classifier)
    run(network, configured(steps=1, micro_batch=4))
    first, second = network[2].seen
    assert not torch.equal(first == 0, second == 0)


def test_randomness_is_of_the_seed_and_leaves_the_callers_alone():
    def weights(seed: int, callers: int) -> torch.Tensor:
        network = small_network()
        torch.manual_seed(callers)
        before = torch.get_rng_state()
        run(network, configured(seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        return network[9].weight.detach()

    with torch.random.fork_rng(devices=[]):
        first = weights(0, callers=1)
        assert torch.equal(first, weights(0, callers=2))
        assert not torch.equal(first, weights(1, callers=1))


def test_every_epoch_is_seen_and_differs():
    network = nn.Sequential(Spy(), *linear())
    run(network, configured(steps=10))
    epochs = torch.cat(network[0].seen).reshape(2, N_IMAGES, -1)
    assert not torch.equal(epochs[0], epochs[1])
    brightness = epochs.mean(dim=2).sort(dim=1).values
    torch.testing.assert_close(brightness[0], brightness[1])


class Decoded:
    """Images as arrays."""

    def __len__(self) -> int:
        return N_IMAGES

    def pixels(self, row: int) -> np.ndarray:
        return SomePixels().images[row].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", [ResidentPixels, MappedPixels])
def test_where_the_images_lie_changes_nothing(kind):
    networks, config = [small_network() for _ in range(2)], configured(crop_area=(0.2, 1))
    run(networks[0], config)
    run(networks[1], config, pixels=kind(Decoded(), CPU))
    assert torch.equal(networks[0][9].weight, networks[1][9].weight)


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 7, 8, 100])
@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_gradients_of_parts_add_up_to_the_batch(micro_batch, loss):
    labels = LABELS
    if loss == "binary":
        labels = np.where(np.eye(N_CLASSES)[LABELS] > 0, 1, -1).astype(np.int64)
        labels[::5, 1] = 0
    networks = [small_network(dropout=0, norm=False) for _ in range(2)]
    spy = Spy()
    networks[1].insert(0, spy)
    config = configured(loss=loss)
    trained = [
        run(networks[0], config, labels),
        run(networks[1], config.replace(micro_batch=micro_batch), labels),
    ]
    sizes = [len(seen) for seen in spy.seen]
    assert max(sizes) <= micro_batch
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == config.steps * config.batch_size
    np.testing.assert_allclose(trained[1].losses, trained[0].losses, rtol=1e-5)
    for whole, parts in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


class Failing(nn.Module):
    """Fails in its own way at the training step `at`, from 0."""

    def __init__(self, at: int, fail) -> None:
        super().__init__()
        self.network, self.at, self.fail = small_network(), at, fail

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.at -= 1
            if self.at == -1:
                return self.fail(images)
        return self.network(images)


def not_a_number(images: torch.Tensor) -> torch.Tensor:
    return torch.full((len(images), N_CLASSES), torch.nan, requires_grad=True)


def out_of_gpu_memory(images: torch.Tensor) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def out_of_memory(images: torch.Tensor) -> torch.Tensor:
    return torch.empty(2**50)


def other_error(images: torch.Tensor) -> torch.Tensor:
    return images @ torch.zeros(5, 5)


@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_loss_that_is_not_finite_ends_the_run(at, tmp_path):
    told = []
    file = tmp_path / "checkpoint"
    network = Failing(at, not_a_number)
    trained = run(network, checkpoint=file, save_seconds=0, on_progress=told.append)
    assert (trained.diverged_at, trained.steps) == (at, at)
    assert len(trained.losses) == at
    assert np.isfinite(trained.losses).all()
    assert [progress.step for progress in told] == list(range(1, at + 1))


def test_the_step_that_diverged_is_found_between_two_looks(monkeypatch):
    monkeypatch.setattr("headstart.training.loop.LOOK_SECONDS", 1e9)
    assert run(Failing(5, not_a_number)).diverged_at == 5
    # A learning rate beyond reason.
    trained = run(small_network(norm=False), configured(learning_rate=1e30))
    assert trained.diverged_at in range(CONFIG.steps)


@pytest.mark.parametrize("how", [out_of_memory, out_of_gpu_memory])
@pytest.mark.parametrize(("config", "batch_size"), [(CONFIG, 8), (configured(micro_batch=4), 4)])
def test_memory_that_does_not_hold_a_batch(config, batch_size, how):
    with refused("training.out_of_memory", batch_size=batch_size):
        run(Failing(2, how), config)


def test_another_error_of_torch_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="size"):
        run(Failing(2, other_error))


def test_a_batch_larger_than_the_data():
    with refused("training.batch_too_large", batch_size=256, n_images=40):
        run(small_network(), TrainingConfig(steps=1, learning_rate=1))
    # Where few images are what is studied, a batch has them several times.
    trained = run(small_network(), TrainingConfig(steps=1, learning_rate=0.1, allow_repeats=True))
    assert trained.steps == 1
    assert np.isfinite(trained.losses).all()


def test_labels_of_other_classes():
    with refused("training.labels_range", found=4):
        run(small_network(), labels=LABELS + 1)


def test_the_curve_is_short_and_means_what_it_says():
    losses = []

    class Telling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(N_CLASSES))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(images), N_CLASSES)

    steps = 401
    trained = run(Telling(), configured(steps=steps), on_progress=losses.append)
    assert (trained.window, len(trained.losses)) == (3, 134)
    assert trained.losses[0] == pytest.approx(np.log(4), rel=0.1)
    assert trained.seconds > 0
    assert trained.images_per_second > 0
    assert losses[0] == Progress(1, steps, pytest.approx(np.log(4)), None)
    assert (losses[-1].step, losses[-1].steps) == (steps, steps)
    assert losses[-1].images_per_second > 0


def test_bfloat16_multiplies_and_weights_stay_float32():
    network, spy = spied(at=1)
    trained = run(network, configured(precision="bf16"))
    assert {seen.dtype for seen in spy.seen} == {torch.bfloat16}
    # Tensors are channels last.
    assert spy.seen[0].is_contiguous(memory_format=torch.channels_last)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    exact = run(small_network(dropout=0.5))
    np.testing.assert_allclose(trained.losses, exact.losses, rtol=0.1)
    assert trained.losses != exact.losses
