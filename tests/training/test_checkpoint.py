import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import training_runs
from headstart.errors import DiskFullError, StorageError
from headstart.training import checkpoint as checkpoints
from headstart.training.loop import Progress, Trained
from processes import Forked, signalled
from refusals import refused
from training_runs import CONFIG, CPU, SomePixels, configured, small_network
from watched import StopError


def run(network, checkpoint, config=CONFIG, identity="trial, candidate", **options) -> Trained:
    options = {"save_seconds": 0, **options}
    return training_runs.run(network, config, checkpoint=checkpoint, identity=identity, **options)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory) -> tuple[dict[str, torch.Tensor], tuple[float, ...]]:
    """All that a run without interruption leaves, momentum included."""
    file = tmp_path_factory.mktemp("at_once") / "checkpoint"
    trained = run(small_network(), file)
    return load_file(file), trained.losses


def assert_same(network: nn.Module, file: Path, trained: Trained, at_once) -> None:
    expected, losses = at_once
    found = load_file(file)
    assert set(found) == set(expected)
    assert {name.split(".")[0] for name in found} == {"parameter", "buffer", "momentum", "losses"}
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    for name, tensor in network.state_dict().items():
        kind = "parameter" if name in dict(network.named_parameters()) else "buffer"
        assert torch.equal(tensor, expected[f"{kind}.{name}"]), name
    assert trained.losses == losses
    assert trained.steps == CONFIG.steps


def steps_in(file: Path) -> int:
    if not file.exists():
        return 0
    with safe_open(file, framework="pt") as opened:
        return int(opened.metadata()["step"])


def interrupt(file: Path, step: int, network: nn.Module | None = None, **options) -> None:
    """Begin a run, or go on with it, until it is interrupted after a step."""

    def stop(progress: Progress) -> None:
        if progress.step == step:
            raise StopError

    with pytest.raises(StopError):
        run(network or small_network(), file, on_progress=stop, **options)


@pytest.mark.parametrize("moments", [[1], [6], [11], [2, 5, 6]])
def test_interrupted_runs_end_at_the_same_bits(moments, tmp_path, at_once):
    file = tmp_path / "folder" / "checkpoint"
    for moment in moments:
        interrupt(file, moment)
        assert steps_in(file) == moment
    network = small_network()
    trained = run(network, file)
    assert_same(network, file, trained, at_once)
    assert trained.resumed_at == moments[-1]
    assert trained.notes == ()


PROCESS = """
import sys
from pathlib import Path
import torch
from headstart.training import CheckpointOptions, train
from training_runs import CPU, INPUT, LABELS, CONFIG, SomePixels, small_network

torch.set_num_threads(int(sys.argv[2]))
train(small_network(), SomePixels(), LABELS, INPUT, CONFIG, device=CPU,
      checkpoint=CheckpointOptions(Path(sys.argv[1]), "trial, candidate", save_seconds=0))
"""


def test_killed_runs_end_at_the_same_bits(tmp_path, at_once):
    file = tmp_path / "checkpoint"
    for saved, resumed in ((2, 2), (5, 7)):
        killed = signalled("headstart.training.checkpoint:Checkpoint", "save", saved)
        process = Forked(killed + PROCESS, file, torch.get_num_threads())
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        assert steps_in(file) == resumed
    network = small_network()
    trained = run(network, file)
    assert_same(network, file, trained, at_once)
    assert trained.resumed_at == 7


def test_a_run_that_is_complete_is_loaded(tmp_path, at_once):
    file, network = tmp_path / "checkpoint", small_network()
    run(small_network(), file)
    trained = run(network, file)
    assert_same(network, file, trained, at_once)
    assert trained.resumed_at == CONFIG.steps
    assert trained.images_per_second is None


def test_it_is_written_as_often_as_asked_and_at_the_end(tmp_path):
    file, steps = tmp_path / "checkpoint", []
    # What a killed process left is removed.
    left, other = (tmp_path / f".{name}.4711.tmp" for name in ("checkpoint", "another"))
    for half in (left, other):
        half.write_bytes(b"half")
    options = {"save_seconds": 3600, "on_progress": lambda _: steps.append(steps_in(file))}
    run(small_network(), file, **options)
    assert steps[:-1] == [0] * (len(steps) - 1)
    assert steps_in(file) == CONFIG.steps
    assert sorted(os.listdir(tmp_path)) == [other.name, "checkpoint"]


def test_a_slow_disk_is_not_waited_for_all_the_time(tmp_path, monkeypatch):
    # A clock that goes on by 20 at each step, and by 1 while a checkpoint is written.
    now, written = [0], []
    monkeypatch.setattr("headstart.training.loop.time.monotonic", lambda: now[0])

    def save(self, network, optimizer, point, *, share) -> None:
        written.append(len(point.losses))
        now[0] += 1

    monkeypatch.setattr(checkpoints.Checkpoint, "save", save)

    class Slow(SomePixels):
        def batch(self, rows):
            now[0] += 20
            return super().batch(rows)

    for seconds, expected in ((40, [2, 7, 12]), (160, [8, 12]), (0, list(range(1, 13)))):
        written.clear()
        run(small_network(), tmp_path / "checkpoint", pixels=Slow(), save_seconds=seconds)
        assert written == expected


def test_parameters_without_a_gradient_have_no_momentum(tmp_path):
    file = tmp_path / "checkpoint"
    networks = [small_network() for _ in range(2)]
    for network in networks:
        network.unused = nn.Identity()
        network.unused.weight = nn.Parameter(torch.ones(3))
    interrupt(file, 3, networks[0])
    assert "parameter.unused.weight" in load_file(file)
    assert "momentum.unused.weight" not in load_file(file)
    run(networks[1], file)
    assert torch.equal(networks[1].unused.weight, torch.ones(3))


def shorten(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    return content[:-300] + bytes([content[-300] ^ 4]) + content[-299:]


def another_step(content: bytes) -> bytes:
    assert b'"step":"4"' in content
    return content.replace(b'"step":"4"', b'"step":"5"')


@pytest.mark.parametrize("damage", [shorten, flip_a_bit, another_step, lambda content: b""])
def test_a_damaged_checkpoint_is_noted_and_the_run_begun_anew(damage, tmp_path, at_once):
    file, network = tmp_path / "checkpoint", small_network()
    interrupt(file, 4)
    file.write_bytes(damage(file.read_bytes()))
    trained = run(network, file)
    assert_same(network, file, trained, at_once)
    assert trained.resumed_at is None
    (note,) = trained.notes
    assert note.startswith(f"the checkpoint {file} is damaged (")
    assert note.endswith("): begun anew")


@pytest.mark.parametrize("other", [
    {"identity": "trial, another candidate"},
    {"config": configured(learning_rate=0.2)},
    {"network": nn.Sequential(small_network(), nn.Linear(4, 4))},
    {"network": nn.Sequential(*small_network()[:9], nn.Linear(16, 5))},
])  # fmt: skip
def test_a_checkpoint_from_another_trial(other, tmp_path):
    file = tmp_path / "checkpoint"
    run(small_network(), file)
    before = file.read_bytes()
    arguments = {"network": small_network(), "checkpoint": file, **other}
    weights = [p.detach().clone() for p in arguments["network"].parameters()]
    with refused("training.checkpoint_foreign", path=str(file)):
        run(**arguments)
    assert file.read_bytes() == before
    for p, weight in zip(arguments["network"].parameters(), weights, strict=True):
        assert torch.equal(p, weight)


@pytest.mark.parametrize("what", ["torch", "numpy", "threads"])
def test_other_conditions_are_told_and_stay_told(what, tmp_path, monkeypatch):
    file, now = tmp_path / "checkpoint", checkpoints.environment(CPU)
    assert set(now) == {"torch", "numpy", "device", "threads"}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "environment", lambda device: {**now, what: "64"})
        interrupt(file, 4)
    interrupt(file, 6)
    trained = run(small_network(), file)
    assert trained.notes == (
        f"resumed at step 4 under other conditions ({what} 64 before, {now[what]} now): the "
        "last digits may differ from those of an uninterrupted run",
    )


@contextmanager
def small_disk() -> Iterator[None]:
    """Files of more than 1000 bytes are refused, as by a full disk: pytest's own output too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told(tmp_path):
    with small_disk(), pytest.raises(DiskFullError):
        run(small_network(), tmp_path / "checkpoint")
    assert os.listdir(tmp_path) == []
    # A folder in its place.
    with pytest.raises(StorageError):
        run(small_network(), tmp_path)


def test_the_identity_of_a_run_is_that_of_earlier_versions(tmp_path):
    """As the release wrote it that introduced checkpoints: a run that it began is resumed."""
    run(small_network(), tmp_path / "checkpoint", identity="trial")
    with safe_open(tmp_path / "checkpoint", framework="pt") as file:
        found = file.metadata()["identity"]
    assert found == (
        "trial | Hyperparameters(steps=12, learning_rate=0.1, weight_decay=0.001, batch_size=8, "
        "decayed='weights', momentum=0.9, nesterov=True, batch_norm_window=10.0, loss='softmax', "
        "label_smoothing=0.0, auxiliary_weight=0.0, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), "
        "flip=True, micro_batch=None, repeats=False, precision='fp32', seed=0) | Input(side=12, "
        "mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), interpolation='bilinear') | 40 images"
    )


@pytest.mark.parametrize("kept", ["nothing", "older", "newer"])
def test_another_machine_goes_on_from_the_shared_checkpoint(kept, remote, tmp_path, at_once):
    """It takes the one that is further, of the shared one and its own."""
    moments = {"nothing": None, "older": 2, "newer": 9}
    there, here = tmp_path / "there" / "checkpoint", tmp_path / "here" / "checkpoint"
    if moments[kept]:
        interrupt(here, moments[kept])
    interrupt(there, 6, remote=remote)
    network = small_network()
    trained = run(network, here, remote=remote)
    assert trained.resumed_at == (9 if kept == "newer" else 6)
    assert trained.notes == ()
    assert_same(network, here, trained, at_once)
    assert steps_in(remote.get("checkpoint")) == CONFIG.steps - 1


def test_a_damaged_shared_checkpoint_is_left_out(remote, tmp_path, at_once):
    there, here = tmp_path / "there" / "checkpoint", tmp_path / "here" / "checkpoint"
    interrupt(there, 6, remote=remote)
    there.write_bytes(there.read_bytes()[:-3] + b"???")
    remote.put("checkpoint", there)
    network = small_network()
    trained = run(network, here, remote=remote)
    assert trained.resumed_at is None
    assert_same(network, here, trained, at_once)


def test_a_checkpoint_that_cannot_be_shared_is_told_once(
    remote, tmp_path, at_once, monkeypatch, request
):
    monkeypatch.setenv("HEADSTART_RETRY_SECONDS", "0")
    if remote.local:
        remote.local.mkdir()
        (remote.local / "checkpoint").mkdir()
    else:
        request.getfixturevalue("storage_server").fails = lambda method, _: method == "PUT"
    network = small_network()
    trained = run(network, tmp_path / "checkpoint", remote=remote)
    assert_same(network, tmp_path / "checkpoint", trained, at_once)
    assert len(trained.notes) == 1
