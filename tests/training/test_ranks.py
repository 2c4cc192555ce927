"""Two processes that train together, against one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from headstart.training import Ranks
from processes import Forked
from refusals import refused
from training_runs import CONFIG, CPU, configured, run, small_network

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """All cases in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    program = Path(__file__).with_name("ranked.py").read_text()
    processes = [Forked(program, rank, folder) for rank in (0, 1)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return folder


def states(pair: Path, name: str) -> list[dict[str, torch.Tensor]]:
    return [load_file(pair / f"{name}.{rank}") for rank in (0, 1)]


def alone(network, config=CONFIG):
    return run(network, config), network.state_dict()


@pytest.mark.parametrize(
    ("name", "norm", "micro_batch"), [("norm", True, 4), ("plain", False, None), ("parts", True, 2)]
)
def test_two_ranks_train_as_one_process_does(pair, name, norm, micro_batch):
    # Of 8 images each rank has 4: as parts of 4 show them to batch norm.
    made = configured(micro_batch=micro_batch)
    trained, expected = alone(small_network(0.0, norm), made)
    first, second = states(pair, name)
    np.testing.assert_allclose(first["losses"], trained.losses, rtol=1e-5)
    for part, tensor in expected.items():
        assert torch.equal(first[part], second[part]), part
        # One process moves the running statistics at each part, ranks once a step.
        if not part.endswith(STATISTICS):
            torch.testing.assert_close(first[part], tensor, rtol=1e-4, atol=1e-5)


def test_running_statistics_are_of_the_whole_batch(pair):
    # Inputs of the first batch norm depend on the weights, so that they are followed step by step
    # by one process, and averaged over its two parts.
    kept, seen = 0.9, []
    network = small_network(0.0)
    hook = network[1].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    alone(network, configured(micro_batch=4))
    hook.remove()
    parts = [x.detach().double().numpy() for x in seen if len(x) == 4]
    assert len(parts) == 2 * CONFIG.steps
    mean, variance = np.zeros(8), np.ones(8)
    for step in range(CONFIG.steps):
        both = parts[2 * step : 2 * step + 2]
        means = np.mean([x.mean(axis=(0, 2, 3)) for x in both], axis=0)
        variances = np.mean([x.var(axis=(0, 2, 3), ddof=1) for x in both], axis=0)
        mean, variance = kept * mean + 0.1 * means, kept * variance + 0.1 * variances
    first, _ = states(pair, "norm")
    np.testing.assert_allclose(first["1.running_mean"], mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first["1.running_var"], variance, rtol=1e-3)
    # To look for parameters without gradients leaves no trace.
    assert first["1.num_batches_tracked"] == CONFIG.steps


def test_parameters_without_gradients_do_no_harm(pair):
    (unused, _), (norm, _) = states(pair, "unused"), states(pair, "norm")
    assert torch.equal(unused["unused"], torch.ones(3))
    np.testing.assert_allclose(unused["losses"], norm["losses"], rtol=1e-6)


def test_all_begin_with_the_first_ones_tensors(pair):
    (first, second), (norm, _) = states(pair, "first"), states(pair, "norm")
    assert torch.equal(first["losses"], norm["losses"])
    assert torch.equal(second["0.weight"], norm["0.weight"])


def test_each_rank_drops_something_else(pair):
    masks = [state["seen"] == 0 for state in states(pair, "seen")]
    assert not torch.equal(*masks)
    assert all(0.3 < mask.float().mean() < 0.8 for mask in masks)


def test_an_interrupted_run_goes_on_bit_for_bit(pair):
    for whole, resumed in zip(states(pair, "at_once"), states(pair, "resumed"), strict=True):
        assert resumed.pop("resumed_at") == 5
        assert whole.pop("resumed_at") == 0
        for name, tensor in whole.items():
            assert torch.equal(resumed[name], tensor), name
    # And the file itself, which the first rank alone wrote.
    files = [load_file(pair / name) for name in ("whole", "halves")]
    assert all(torch.equal(files[1][name], tensor) for name, tensor in files[0].items())


def test_ranks_that_do_not_see_one_checkpoint(pair):
    assert {(pair / f"error.{rank}").read_text() for rank in (0, 1)} == {
        "training.checkpoints_differ: steps 0 to 12"
    }


def test_a_batch_without_equal_shares():
    with refused("training.batch_indivisible", ranks=3, batch_size=8):
        run(small_network(), ranks=Ranks(0, 3))


def test_fewer_gpus_than_ranks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for rank in (0, 1):
        with refused("device.too_few_gpus", expected=2, found=1):
            Ranks(rank, 4, rank, 2).place(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Ranks(3, 4, 1, 2).place(torch.device("cuda")) == torch.device("cuda", 1)
    assert Ranks(3, 4, 1, 2).place(CPU) == CPU


def test_ranks_are_what_torchrun_says(monkeypatch):
    told = {"RANK": 3, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert Ranks.from_environment() is None
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert Ranks.from_environment() == Ranks(3, 4, 1, 2)


def test_shares_are_the_batch():
    places = [np.arange(12)[Ranks(rank, 3).share(12)] for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate(places), np.arange(12))
