"""What a network costs on this device: latency, throughput, memory.

Another process that comes and goes makes a network seem slower, never faster. So latency is timed
in several blocks of passes, some when the network is loaded, one more whenever it is used again,
and the fastest block counts.
"""

import time
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart import models
from headstart.context import RunContext
from headstart.features.extract import make_runtime, runtime_key
from headstart.features.runtime import FeatureRuntime, choose_runtime
from headstart.ranking.answer import Cost
from headstart.spec import Model
from headstart.spec.setting import Precision

if TYPE_CHECKING:
    from headstart.models.network import Network

__all__ = ["measure_cost", "peak_memory", "timed_again"]

# Passes before the measurement find memory and algorithms.
WARM_UP = 3
# Passes of one image in a block: so many, or as many as fit the seconds, if that is more than the
# fewest.
PASSES, FEWEST = 50, 3
# Times that a network is timed when it is loaded, other work between them; seconds of each, and of
# the one when it is used again: at least one block.
TIMES, SECONDS, AGAIN_SECONDS = 3, 0.4, 0.3
# Images of the batch whose throughput is measured, unless it takes longer.
BATCH, BATCH_SECONDS = 16, 5.0
SEED = 0


def measure_cost(
    model: Model,
    precision: Precision,
    context: RunContext,
    runtimes: dict[str, FeatureRuntime] | None = None,
) -> Cost:
    """Time a network on random pixels at its input size, as features are computed.

    Latency is of one image at a time, from pixels in memory to features; throughput is of a batch.
    The fastest of several blocks counts for latency (`timed_again` adds others).
    Memory is the peak for one image: on a GPU all that is allocated; on a processor the weights and
    the tensors of the forward pass in torch, not what a layer needs while it computes.

    The loaded network is added to `runtimes`, by `runtime_key`, to compute features with.

    Raises
    ------
    HeadstartError
        The network cannot be loaded or does not run.
    """
    import torch

    from headstart.devices import resolve_device

    start, device, note = time.perf_counter(), resolve_device(context.device), context.reporter.note
    network = models.load(model, context.cache, trust=context.trust, note=note)
    for line in models.remarks(model):
        note(line)
    on_gpu, allocated = device.type == "cuda", 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
    used = choose_runtime(device.type, precision)
    runtime = make_runtime(used, network, model, precision, device, note)
    if runtimes is not None:
        runtimes[runtime_key(model, precision)] = runtime
    load = time.perf_counter() - start
    one = _pixels(1, model.input_size)
    for _ in range(WARM_UP):
        runtime(one)
    found = [_latency(runtime, one, SECONDS)]
    if on_gpu:
        memory = torch.cuda.max_memory_allocated(device) - allocated
    else:
        memory = peak_memory(network, model.input_size)
    found.append(_latency(runtime, one, SECONDS))
    batch, throughput = min(BATCH, runtime.batch_size), 1 / min(found)[0]
    if batch / throughput < BATCH_SECONDS:
        several = _pixels(batch, model.input_size)
        runtime(several)
        start = time.perf_counter()
        runtime(several)
        throughput = batch / (time.perf_counter() - start)
    found += [_latency(runtime, one, SECONDS) for _ in range(TIMES - len(found))]
    latency, latency_95 = min(found)
    return Cost(latency, latency_95, throughput, memory, runtime.name, load)


def timed_again(cost: Cost, runtime: FeatureRuntime, side: int) -> Cost:
    """Time a loaded network once more, shortly; latency and its 95th percentile are the lower ones.

    `side` is the pixels of its input.
    """
    found = _latency(runtime, _pixels(1, side), AGAIN_SECONDS)
    latency, latency_95 = min((cost.latency, cost.latency_95), found)
    return replace(cost, latency=latency, latency_95=latency_95)


def _latency(
    runtime: FeatureRuntime, one: npt.NDArray[np.uint8], seconds: float
) -> tuple[float, float]:
    """Return the median and the 95th percentile of the seconds per image in the fastest block."""
    found, began = list[tuple[float, float]](), time.perf_counter()
    while not found or time.perf_counter() - began < seconds:
        times, begun = list[float](), time.perf_counter()
        while len(times) < FEWEST or (
            len(times) < PASSES and time.perf_counter() - begun < seconds
        ):
            start = time.perf_counter()
            runtime(one)
            times.append(time.perf_counter() - start)
        found.append((float(np.median(times)), float(np.quantile(times, 0.95))))
    return min(found)


def peak_memory(network: "Network", side: int) -> int:
    """Return the bytes of a network's weights, and of all tensors that are alive at most with them.

    The forward pass is of one image of `side` pixels, on the processor. Tensors that share memory
    count once. They are a property of the network: no thread, other process or allocator counts.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    weights = list(network.state_dict().values())
    alive: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in weights}
    peak = 0

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Counts the memory of each result, until nothing refers to it."""

        def __torch_dispatch__(
            self, function: Any, _: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal peak
            results = function(*args, **(kwargs or {}))
            for one in tree_leaves(results):
                storage = one.untyped_storage() if isinstance(one, torch.Tensor) else None
                if storage is not None and storage._cdata not in alive:
                    alive[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, alive.pop, storage._cdata)
            peak = max(peak, sum(alive.values()))
            return results

    dtype = next((one.dtype for one in weights if one.is_floating_point()), torch.float32)
    with torch.inference_mode(), Watch():  # type: ignore[no-untyped-call]
        # Channels last, as features are computed.
        network.penultimate(torch.zeros((1, side, side, 3), dtype=dtype).permute(0, 3, 1, 2))
    return peak + sum(int(tensor.nbytes) for tensor in weights)


def _pixels(n: int, side: int) -> npt.NDArray[np.uint8]:
    return np.random.RandomState(SEED).randint(0, 256, (n, side, side, 3), dtype=np.uint8)
