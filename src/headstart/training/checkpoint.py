"""Checkpoints: all that a run needs to resume bit for bit, in one file written atomically.

Randomness is a function of the seed and the step, so no generator state is saved. The file is a
safetensors file with text metadata. Loading it executes no code.
"""

import hashlib
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from headstart.artifacts import ArtifactFolder
from headstart.errors import StorageError, TrainingError
from headstart.files import replaced, storage_errors, utf8_name

__all__ = ["Checkpoint", "CheckpointOptions", "TrainState", "environment"]

PARAMETER, BUFFER, LOSSES = "parameter.", "buffer.", "losses"
# Tensors of the optimizer: ``momentum.PARAMETER`` of SGD, ``optimizer.KEY.PARAMETER`` of others.
MOMENTUM, OPTIMIZER = "momentum.", "optimizer."
MOMENTUM_KEY = "momentum_buffer"


@dataclass(frozen=True)
class CheckpointOptions:
    """Where and how often the state of a run is kept. Who trains removes the files afterwards.

    Parameters
    ----------
    file
        What the run resumes from, and is written to at the end and every so often.
    identity
        Identifies trial and candidate. A checkpoint of another one is refused.
    save_seconds
        Pause between two checkpoints (0: one at every step); they take 1 % of the time at most.
    remote
        Folder for copies that other machines reach.
    """

    file: Path
    identity: str = ""
    save_seconds: float = 60.0
    remote: ArtifactFolder | None = None


@dataclass
class TrainState:
    """State of a training run besides network and optimizer.

    Parameters
    ----------
    losses
        Loss of each update so far.
    notes
        Messages for the user.
    """

    losses: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def environment(device: torch.device) -> dict[str, str]:
    """Return libraries and hardware that may change the last digits of a run."""
    # NumPy's logarithms and square roots decide how crops are rounded.
    libraries = {"torch": str(torch.__version__), "numpy": np.__version__}
    if device.type == "cuda":
        return {
            **libraries,
            "device": torch.cuda.get_device_name(device),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        }
    return {
        **libraries,
        "device": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }


class Checkpoint:
    """The checkpoint file of one run.

    Parameters
    ----------
    options
        Where it is. The folder is created. Each saved file is copied to the remote folder; `load`
        takes the file there if its run is further than that of the local file.
    identity
        Identity of the run. A file with another identity is refused.
    device
        Device of the run.
    """

    def __init__(self, options: CheckpointOptions, identity: str, device: torch.device) -> None:
        self.path, self.remote = options.file, options.remote
        self.identity, self.device = identity, device
        self._reached = True
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A process killed while writing leaves a temporary file as large as a checkpoint.
            for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):
                left.unlink(missing_ok=True)

    def save(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: TrainState,
        *,
        share: bool = True,
    ) -> None:
        """Write the state of the run; with `share` to the remote folder, too.

        Raises
        ------
        NotWritableError, DiskFullError, StorageError
        """
        tensors = {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in {**held(network), **optimizer_state(network, optimizer)}.items()
        }
        tensors[LOSSES] = torch.tensor(state.losses, dtype=torch.float64)
        words = {
            "identity": self.identity,
            "step": str(len(state.losses)),
            "notes": json.dumps(state.notes),
            "environment": json.dumps(environment(self.device)),
        }
        words["digest"] = digest(tensors, words)
        content = save(tensors, words)
        with replaced(self.path) as temporary:
            temporary.write_bytes(content)
        if self.remote and share:
            try:
                self.remote.put(self.path.name, self.path)
            except StorageError as error:
                # The local file is enough to go on with on this machine.
                if self._reached:
                    state.notes.append(f"checkpoints stay on this machine: {error}")
                self._reached = False

    def load(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> TrainState:
        """Restore network and optimizer; return the state, a fresh one if there is no file.

        A damaged file counts as missing, with a note.

        Raises
        ------
        TrainingError
            The checkpoint belongs to another run.
        StorageError
            The file cannot be read.
        """
        notes = self._pull() if self.remote else []
        if not self.path.exists():
            return TrainState(notes=notes)
        try:
            with storage_errors(self.path):
                tensors, words = read(self.path)
        except SafetensorError as error:
            notes.append(f"the checkpoint {self.path} is damaged ({error}): begun anew")
            return TrainState(notes=notes)
        into = held(network)
        shapes = {
            name: tensor.shape
            for name, tensor in tensors.items()
            if name.startswith((PARAMETER, BUFFER))
        }
        same = shapes == {name: tensor.shape for name, tensor in into.items()}
        if words["identity"] != self.identity or not same:
            raise TrainingError(
                f"{self.path}: a checkpoint from another trial, or from other code; remove it, or "
                "name another file",
                code="training.checkpoint_foreign",
                path=str(self.path),
            )
        with torch.no_grad():
            for name, tensor in into.items():
                tensor.copy_(tensors[name])
            parameters = dict(network.named_parameters())
            for stored, kept in tensors.items():
                if not stored.startswith((MOMENTUM, OPTIMIZER)):
                    continue
                prefix, _, name = stored.partition(".")
                key = MOMENTUM_KEY
                if prefix + "." == OPTIMIZER:
                    key, _, name = name.partition(".")
                parameter = parameters[name]
                own = kept.to(parameter.device)
                if kept.shape == parameter.shape:
                    # In the parameter's memory layout, as in an uninterrupted run.
                    own = torch.empty_like(parameter, requires_grad=False).copy_(kept)
                optimizer.state[parameter][key] = own
        state = TrainState(tensors[LOSSES].tolist(), [*json.loads(words["notes"]), *notes])
        return self._noted(state, json.loads(words["environment"]))

    def _pull(self) -> list[str]:
        """Take the remote file if it is further than the local one; return notes."""
        assert self.remote is not None  # noqa: S101 - asked before
        name = self.path.name
        if not self.remote.exists(name):
            return []
        temporary = self.path.with_name(f".{name}.{uuid4().hex[:12]}.tmp")
        try:
            self.remote.fetch(name, temporary)
            if _step_of(temporary) > (_step_of(self.path) if self.path.exists() else -1):
                temporary.replace(self.path)
        except StorageError as error:
            if error.code not in ("storage.damaged", "storage.absent"):
                raise
            return [f"the shared checkpoint is left out: {error}"]
        finally:
            temporary.unlink(missing_ok=True)
        return []

    def _noted(self, state: TrainState, before: dict[str, str]) -> TrainState:
        now, step = environment(self.device), len(state.losses)
        changed = [
            f"{name} {before.get(name, 'unknown')} before, {now.get(name, 'unknown')} now"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        if changed:
            state.notes.append(
                f"resumed at step {step} under other conditions ({', '.join(changed)}): "
                "the last digits may differ from those of an uninterrupted run"
            )
        elif self.device.type == "cuda":
            state.notes.append(
                f"resumed at step {step} on a GPU, which selects its algorithms again: "
                "the last digits may differ from those of an uninterrupted run"
            )
        return state


def held(network: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, each once."""
    parameters = {PARAMETER + name: tensor for name, tensor in network.named_parameters()}
    return parameters | {BUFFER + name: tensor for name, tensor in network.named_buffers()}


def optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of the optimizer by name, for parameters that have received a gradient."""
    return {
        (MOMENTUM if key == MOMENTUM_KEY else f"{OPTIMIZER}{key}.") + name: tensor
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
        for key, tensor in optimizer.state[parameter].items()
        if tensor is not None
    }


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata; raise SafetensorError if their digest does not match."""
    with utf8_name(path) as name, safe_open(name, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        words = dict(file.metadata() or {})
    if words.pop("digest", None) != digest(tensors, words):
        raise SafetensorError("its content does not match its digest")
    return tensors, words


def _step_of(path: Path) -> int:
    """Return the number of updates of a checkpoint; -1 if it is damaged."""
    try:
        with storage_errors(path):
            return int(read(path)[1]["step"])
    except (SafetensorError, KeyError, ValueError):
        return -1


def digest(tensors: dict[str, Tensor], words: dict[str, str]) -> str:
    """Return the SHA-256 of metadata, names and values."""
    content = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()
