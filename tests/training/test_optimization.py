import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from headstart.spec import SGD, TrainingConfig
from headstart.training.augmentation import rows_of_step, training_views
from headstart.training.loop import (
    batch_norm_momentum,
    binary,
    check_labels,
    cosine,
    decaying,
    loss_of,
    make_optimizer,
    softmax,
    trainable,
)
from refusals import refused
from training_runs import (
    CONFIG,
    INPUT,
    LABELS,
    N_CLASSES,
    SIDE,
    SomePixels,
    configured,
    run,
    small_network,
)

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [200.0, -200.0, 0.0]], requires_grad=True)


def test_softmax_is_the_sum_of_cross_entropies():
    logits = LOGITS.detach().double().numpy()
    labels = np.array([2, 1])
    expected = np.log(np.exp(logits[0]).sum()) - logits[0, 2] + 400
    assert softmax(LOGITS, torch.from_numpy(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_targets_are_spread_over_all_classes(smoothing):
    logits = LOGITS.detach().double().numpy()
    labels = np.array([2, 1])
    # Szegedy et al. 2016, equation 7: q'(k) = (1 - e) [k = y] + e / K.
    target = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    made = TrainingConfig(steps=1, learning_rate=1, label_smoothing=smoothing)
    found = loss_of(made)(LOGITS, torch.from_numpy(labels))
    assert found.item() == pytest.approx(-(target * log_p).sum())
    (gradient,) = torch.autograd.grad(found, LOGITS)
    np.testing.assert_allclose(gradient, np.exp(log_p) - target, atol=1e-6)


def test_binary_is_the_sum_of_logistic_losses_of_what_counts():
    labels = np.array([[1, -1, 0], [-1, 0, 1]])
    logits = LOGITS.detach().double().numpy()
    losses = np.logaddexp(0, -labels * logits) * (labels != 0)
    found = binary(LOGITS, torch.from_numpy(labels))
    assert found.item() == pytest.approx(losses.sum())
    (gradient,) = torch.autograd.grad(found, LOGITS)
    by_hand = -labels / (1 + np.exp(np.clip(labels * logits, -700, 700)))
    np.testing.assert_allclose(gradient, by_hand, atol=1e-6)
    # Left out, whatever the network says.
    assert gradient[0, 2] == 0
    assert gradient[1, 1] == 0


@pytest.mark.parametrize(("loss", "labels", "code", "found"), [
    ("softmax", [0, 1], "training.labels_shape", "(2,)"),
    ("softmax", [[0], [1], [1]], "training.labels_shape", "(3, 1)"),
    ("binary", [0, 1, 1], "training.labels_shape", "(3,)"),
    ("binary", [[1, -1, 0]] * 3, "training.labels_shape", "(3, 3)"),
    ("softmax", [0, 1, 2], "training.labels_range", 2),
    ("softmax", [0, -1, 1], "training.labels_range", -1),
    ("binary", [[1, 0], [1, -1], [2, 1]], "training.labels_range", 2),
])  # fmt: skip
def test_labels_that_do_not_fit_the_head(loss, labels, code, found):
    with refused(code, found=found):
        check_labels(np.array(labels), loss, 3, 2)


def test_labels_that_fit():
    check_labels(np.array([0, 1, 1]), "softmax", 3, 2)
    check_labels(np.array([[0, 1], [1, -1]]), "binary", 2, 2)


def linear_network() -> nn.Sequential:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, N_CLASSES))
    with torch.no_grad():
        values = np.random.RandomState(1).normal(size=network[1].weight.shape) / 20
        network[1].weight.copy_(torch.from_numpy(values))
        network[1].bias.copy_(torch.arange(4.0) / 10)
    return network


def by_hand(network: nn.Sequential, config: TrainingConfig) -> tuple[list, list]:
    """Nesterov's momentum in float64, as Sutskever et al. 2013 and torch write it."""
    values = [p.detach().double().numpy().copy() for p in network[1].parameters()]
    momentum = [np.zeros_like(value) for value in values]
    pixels = SomePixels()
    sgd = config.optimizer
    for step in range(config.steps):
        rows = rows_of_step(config.seed, step, config.batch_size, len(pixels))
        x = training_views(pixels.batch(rows), INPUT, config, step).flatten(1).double().numpy()
        logits = x @ values[0].T + values[1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        residual = (p - np.eye(N_CLASSES)[LABELS[rows]]) / len(rows)
        rate = config.learning_rate / 2 * (1 + np.cos(np.pi * step / config.steps))
        for i, gradient in enumerate((residual.T @ x, residual.sum(axis=0))):
            decays = i == 0 or sgd.decayed == "all"
            g = gradient + sgd.weight_decay * values[i] * decays
            momentum[i] = sgd.momentum * momentum[i] + g
            values[i] -= rate * (g + sgd.momentum * momentum[i] if sgd.nesterov else momentum[i])
    return values, momentum


@pytest.mark.parametrize(("rate", "nesterov", "decayed"), [
    (0.9, True, "weights"), (0.9, True, "all"), (0.5, False, "weights"), (0, True, "all"),
])  # fmt: skip
def test_weights_and_momentum_are_those_of_steps_by_hand(rate, nesterov, decayed, tmp_path):
    optimizer = {"weight_decay": 0.3, "decayed": decayed, "momentum": rate, "nesterov": nesterov}
    config = configured(steps=6, learning_rate=0.02, batch_size=12, seed=3, **optimizer)
    network = linear_network()
    values, momentum = by_hand(network, config)
    file = tmp_path / "checkpoint"
    run(network, config, checkpoint=file)
    kept = load_file(file)
    for i, name in enumerate(("1.weight", "1.bias")):
        found = network.get_parameter(name).detach()
        np.testing.assert_allclose(found, values[i], rtol=1e-4, atol=1e-6)
        if rate:
            buffer = kept[f"momentum.{name}"]
            np.testing.assert_allclose(buffer, momentum[i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decayed", ["weights", "all"])
def test_what_decays_where_the_gradient_is_zero(decayed):
    network = small_network()
    for norm in (network[1], network[4]):
        nn.init.constant_(norm.bias, 0.5)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    config = configured(steps=1, weight_decay=0.5, decayed=decayed, loss="binary")
    nothing_counts = np.zeros((len(LABELS), N_CLASSES), dtype=np.int64)
    run(network, config, nothing_counts)
    # The first step of Nesterov's momentum: g + 0.9 g.
    shrunk = 1 - 0.1 * 1.9 * 0.5
    layers = {"0.weight", "3.weight", "9.weight"}
    for name, p in network.named_parameters():
        factor = shrunk if decayed == "all" or name in layers else 1
        torch.testing.assert_close(p.detach(), before[name] * factor, rtol=1e-6, atol=0)


def test_tables_of_positions_and_layer_scales_are_no_weights():
    network = nn.Module()
    network.position = nn.Parameter(torch.zeros(1, 4, 8))
    network.gamma = nn.Parameter(torch.zeros(8, 1, 1))
    network.attention = nn.MultiheadAttention(8, 2)
    expected = {"attention.in_proj_weight", "attention.out_proj.weight"}
    assert decaying(dict(network.named_parameters()), "weights") == expected
    config = TrainingConfig(steps=1, learning_rate=1, optimizer=SGD(decayed="all"))
    assert len(make_optimizer(small_network(), config).param_groups) == 1


def test_frozen_parameters_stay():
    network = small_network()
    network[0].requires_grad_(False)
    before = network[0].weight.detach().clone()
    run(network)
    assert torch.equal(network[0].weight, before)
    assert {"0.weight", "0.bias"}.isdisjoint(trainable(network))


@pytest.mark.parametrize("network", [nn.Flatten(), small_network().requires_grad_(False)])
def test_nothing_to_train(network):
    with refused("training.all_frozen"):
        make_optimizer(network, CONFIG)


def test_cosine_falls_from_the_peak_to_zero_after_the_last_step():
    steps = 20000
    rates = np.array([cosine(0.1, step, steps) for step in range(steps)])
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(steps) / steps)))
    assert rates[0] == 0.1
    assert rates[steps // 2] == pytest.approx(0.05)
    assert cosine(0.1, steps, steps) == 0
    assert np.all(np.diff(rates) < 0)


@pytest.mark.parametrize(("window", "steps_per_epoch", "kept"), [
    (10, 5, 0.9),
    (10, 100, 0.9),
    (10, 200, 0.95),
    (10, 20000 / 256, 0.9),
    (10, 295.9, 1 - 10 / 295.9),
])  # fmt: skip
def test_batch_norm_keeps_what_the_paper_says(window, steps_per_epoch, kept):
    assert 1 - batch_norm_momentum(window, steps_per_epoch) == pytest.approx(kept)
    assert kept == pytest.approx(max(1 - window / steps_per_epoch, 0.9))


def test_the_optimizer_has_this_learning_rate_at_every_step():
    seen = []

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append([group["lr"] for group in optimizer.param_groups])

    handle = register_optimizer_step_pre_hook(look)
    try:
        run(small_network())
    finally:
        handle.remove()
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(12) / 12))
    np.testing.assert_allclose(seen, np.stack([expected, expected], axis=1))
