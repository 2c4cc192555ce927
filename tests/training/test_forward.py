"""Auxiliary classifiers in training: what they add to the loss, and to gradients."""

import numpy as np
import pytest
import torch
from torch import nn

import training_runs
from headstart.training import decision_values
from headstart.training.augmentation import evaluation_views, rows_of_step, training_views
from refusals import refused
from training_runs import (
    CPU,
    INPUT,
    LABELS,
    N_CLASSES,
    N_IMAGES,
    SIDE,
    SomePixels,
    configured,
    small_network,
)

ALL = np.arange(N_IMAGES)


def values(network, rows=ALL, **options):
    return decision_values(network, SomePixels(), rows, INPUT, "full", device=CPU, **options)


def test_logits_are_the_networks_own_in_evaluation_mode():
    network = small_network(dropout=0.5).train()
    network[1].running_mean.fill_(0.3)
    found = values(network)
    assert found.dtype == np.float32
    assert found.shape == (N_IMAGES, N_CLASSES)
    images = evaluation_views(SomePixels().batch(ALL), INPUT, "full")
    with torch.no_grad():
        expected = network.eval()(images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_dropout_and_running_statistics_are_left_alone():
    network = small_network(dropout=0.5).train()
    before = network[1].running_mean.clone()
    state = torch.get_rng_state()
    assert np.array_equal(values(network), values(network))
    assert torch.equal(network[1].running_mean, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size", [1, 7, 39])
def test_the_batch_size_is_rounding_at_most(batch_size):
    network = small_network()
    np.testing.assert_allclose(
        values(network, batch_size=batch_size), values(network), rtol=1e-4, atol=1e-6
    )


def test_rows_in_their_order():
    network, rows = small_network(), np.array([30, 2, 2, 11])
    np.testing.assert_allclose(values(network, rows), values(network)[rows], rtol=1e-4, atol=1e-6)


def test_each_module_is_given_back_its_mode():
    network = small_network().train()
    network[1].eval()
    values(network)
    assert [module.training for module in network] == [True, False] + [True] * 8
    # And it can be trained on.
    network(torch.zeros(2, 3, 12, 12)).sum().backward()


def test_bfloat16():
    network = small_network()
    exact, rounded = values(network), values(network, precision="bf16")
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.05)


class Hungry(torch.nn.Module):
    """A network that asks for more memory than there is where it is given many images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.network, self.most, self.given = small_network(), most, []

    def forward(self, images):
        self.given.append(len(images))
        return self.network(images) if len(images) <= self.most else torch.empty(2**50)


def test_a_batch_that_does_not_fit_is_done_in_halves():
    network = Hungry(3)
    found = values(network, ALL[:9])
    assert [n for n in network.given if n <= 3] == [2, 2, 2, 3]
    np.testing.assert_allclose(found, values(network.network, ALL[:9]), rtol=1e-4, atol=1e-6)


def test_an_image_that_does_not_fit():
    with refused("training.out_of_memory", batch_size=1):
        values(Hungry(0))


def test_other_errors_are_not_taken_for_short_memory():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        values(torch.nn.Linear(5, 2))


WEIGHT = 0.3
ONE_STEP = configured(steps=1, weight_decay=0.0, nesterov=False, momentum=0.0)


class TwoHeaded(nn.Module):
    """A layer, its classifier, and another one, all linear: gradients can be written down."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.body = nn.Linear(3 * SIDE * SIDE, 5, bias=False)
            self.main = nn.Linear(5, N_CLASSES, bias=False)
            self.aux = nn.Linear(5, N_CLASSES, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.main(self.body(images.flatten(1)))

    def all_logits(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        body = self.body(images.flatten(1))
        return (self.main(body), self.aux(body)) if self.training else (self.main(body),)


def run(network, config=ONE_STEP):
    return training_runs.run(network, config)


def first_batch():
    """Rows of the first batch, and what a network sees of them."""
    rows = rows_of_step(0, 0, 8, N_IMAGES)
    return rows, training_views(SomePixels().batch(rows), INPUT, ONE_STEP, 0)


def by_hand(network, weight):
    """Loss of the first batch and gradients of all weights, in numpy."""
    rows, views = first_batch()
    x = views.flatten(1).double().numpy()
    body, main, aux = (w.detach().double().numpy() for w in network.parameters())
    features, target = x @ body.T, np.eye(N_CLASSES)[LABELS[rows]]
    losses, errors = [], []
    for head in (main, aux):
        logits = features @ head.T
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        losses.append(-(target * log_p).sum() / 8)
        errors.append((np.exp(log_p) - target) / 8)
    both = errors[0] @ main + weight * errors[1] @ aux
    gradients = (both.T @ x, errors[0].T @ features, weight * errors[1].T @ features)
    return losses[0] + weight * losses[1], gradients


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("weight", [WEIGHT, 1.0])
def test_the_loss_is_a_weighted_sum_and_reaches_head_and_backbone(weight, micro_batch):
    network = TwoHeaded()
    before = [p.detach().clone() for p in network.parameters()]
    loss, gradients = by_hand(network, weight)
    trained = run(network, ONE_STEP.replace(auxiliary_weight=weight, micro_batch=micro_batch))
    assert trained.losses == (pytest.approx(loss, rel=1e-5),)
    for was, now, gradient in zip(before, network.parameters(), gradients, strict=True):
        # One step of plain descent: what was input_spec off is the rate times the gradient.
        input_spec = (was - now.detach()).numpy() / ONE_STEP.learning_rate
        np.testing.assert_allclose(input_spec, gradient, rtol=1e-3, atol=1e-4 * abs(gradient).max())
        assert abs(gradient).max() > 0


def test_without_a_weight_nothing_of_it_is_trained():
    network = TwoHeaded()
    loss, _ = by_hand(network, 0.0)
    aux = network.aux.weight.detach().clone()
    trained = run(network)
    assert trained.losses == (pytest.approx(loss, rel=1e-5),)
    assert torch.equal(network.aux.weight, aux)


def test_labels_are_smoothed_for_every_classifier():
    made = ONE_STEP.replace(auxiliary_weight=1.0, label_smoothing=0.2)
    smoothed = run(TwoHeaded(), made).losses[0]
    network = TwoHeaded()
    plain, _ = by_hand(network, 1.0)
    _, views = first_batch()
    spread = 0.0
    for logits in network.all_logits(views):
        log_p = torch.log_softmax(logits.double(), dim=1)
        spread += -log_p.mean(dim=1).sum().item() / 8
    assert smoothed == pytest.approx(0.8 * plain + 0.2 * spread, rel=1e-5)


def test_evaluation_asks_the_classifier_alone():
    network = TwoHeaded()

    def forbidden(*_):
        raise AssertionError("an auxiliary classifier was asked")

    network.aux.register_forward_pre_hook(forbidden)
    values = decision_values(network, SomePixels(), np.arange(4), INPUT, "full", device=CPU)
    assert values.shape == (4, N_CLASSES)


def test_networks_without_auxiliary_logits():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, N_CLASSES))
    single = TwoHeaded()
    single.all_logits = lambda images: (single(images),)
    for network in (plain, single):
        with refused("training.no_auxiliary", network=type(network).__name__):
            run(network, ONE_STEP.replace(auxiliary_weight=WEIGHT))
