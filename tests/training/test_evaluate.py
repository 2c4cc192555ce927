import numpy as np
import pytest
import torch

from headstart.training.augmentation import evaluation_views
from headstart.training.forward import decision_values
from refusals import refused
from training_runs import CPU, INPUT, N_CLASSES, N_IMAGES, SomePixels, small_network

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
