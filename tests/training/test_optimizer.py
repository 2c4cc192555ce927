import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from headstart.errors import TrainingError
from headstart.training.draws import rows_of_step
from headstart.training.hyperparameters import Hyperparameters
from headstart.training.loop import train
from headstart.training.optimizer import decaying, make_optimizer, trainable
from headstart.training.views import training_views
from training_runs import (
    CPU,
    HYPERPARAMETERS,
    LABELS,
    N_CLASSES,
    SIDE,
    TAKEN,
    SomePixels,
    small_network,
)


def linear_network() -> nn.Sequential:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, N_CLASSES))
    with torch.no_grad():
        values = np.random.RandomState(1).normal(size=network[1].weight.shape) / 20
        network[1].weight.copy_(torch.from_numpy(values))
        network[1].bias.copy_(torch.arange(4.0) / 10)
    return network


def by_hand(network: nn.Sequential, hyperparameters: Hyperparameters) -> tuple[list, list]:
    """Nesterov's momentum in float64, as Sutskever et al. 2013 and torch write it."""
    values = [p.detach().double().numpy().copy() for p in network[1].parameters()]
    momentum = [np.zeros_like(value) for value in values]
    pixels = SomePixels()
    for step in range(hyperparameters.steps):
        rows = rows_of_step(hyperparameters.seed, step, hyperparameters.batch_size, len(pixels))
        x = (
            training_views(pixels.batch(rows), TAKEN, hyperparameters, step)
            .flatten(1)
            .double()
            .numpy()
        )
        logits = x @ values[0].T + values[1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        residual = (p - np.eye(N_CLASSES)[LABELS[rows]]) / len(rows)
        rate = (
            hyperparameters.learning_rate / 2 * (1 + np.cos(np.pi * step / hyperparameters.steps))
        )
        for i, gradient in enumerate((residual.T @ x, residual.sum(axis=0))):
            decays = i == 0 or hyperparameters.decayed == "all"
            g = gradient + hyperparameters.weight_decay * values[i] * decays
            momentum[i] = hyperparameters.momentum * momentum[i] + g
            values[i] -= rate * (
                g + hyperparameters.momentum * momentum[i]
                if hyperparameters.nesterov
                else momentum[i]
            )
    return values, momentum


@pytest.mark.parametrize(
    ("rate", "nesterov", "decayed"),
    [(0.9, True, "weights"), (0.9, True, "all"), (0.5, False, "weights"), (0, True, "all")],
)
def test_weights_and_momentum_are_those_of_steps_by_hand(rate, nesterov, decayed, tmp_path):
    hyperparameters = Hyperparameters(
        steps=6,
        learning_rate=0.02,
        weight_decay=0.3,
        batch_size=12,
        decayed=decayed,
        momentum=rate,
        nesterov=nesterov,
        crop_area=(1, 1),
        crop_aspect=(1, 1),
        seed=3,
    )
    network = linear_network()
    values, momentum = by_hand(network, hyperparameters)
    file = tmp_path / "checkpoint"
    train(network, SomePixels(), LABELS, TAKEN, hyperparameters, device=CPU, checkpoint=file)
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
    hyperparameters = Hyperparameters(
        steps=1, learning_rate=0.1, weight_decay=0.5, batch_size=8, decayed=decayed, loss="binary"
    )
    nothing_counts = np.zeros((len(LABELS), N_CLASSES), dtype=np.int64)
    train(network, SomePixels(), nothing_counts, TAKEN, hyperparameters, device=CPU)
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
    assert decaying(dict(network.named_parameters()), "weights") == {
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }


def test_frozen_parameters_stay():
    network = small_network()
    network[0].requires_grad_(False)
    before = network[0].weight.detach().clone()
    train(network, SomePixels(), LABELS, TAKEN, HYPERPARAMETERS, device=CPU)
    assert torch.equal(network[0].weight, before)
    assert {"0.weight", "0.bias"}.isdisjoint(trainable(network))


def test_one_group_where_all_decays():
    hyperparameters = Hyperparameters(steps=1, learning_rate=1, decayed="all")
    assert len(make_optimizer(small_network(), hyperparameters).param_groups) == 1


@pytest.mark.parametrize("network", [nn.Flatten(), small_network().requires_grad_(False)])
def test_nothing_to_train(network):
    message = r"^\w+ has no trainable parameters: expected a network with some that are not frozen"
    with pytest.raises(TrainingError, match=message):
        make_optimizer(network, HYPERPARAMETERS)
