import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from headstart.spec import SGD, TrainingConfig
from headstart.training.augmentation import rows_of_step, training_views
from headstart.training.loop import decaying, make_optimizer, trainable
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
