"""Threads of numerical libraries: how many, and how they wait for each other.

torch splits an operation among the threads of OpenMP, which meet at a barrier at its end. By
default a thread that is done early spins there. On a shared machine that is a waste which grows:
the thread that the others wait for may not be running, because a spinning one has its CPU. Two
things help (docs/performance.md has the figures):

* `configure_threads` makes waiting threads go to sleep soon. It must be called before OpenMP is
  loaded: the command line and worker processes do, `import headstart` does not.
* `sharing_cpus` lets waiting threads sleep at once while other processes use the CPUs, and leaves
  these CPUs alone as far as it is allowed to. Fewer threads are another order of sums: training,
  whose results must not depend on neighbours, keeps them all. Certified fits and features do not
  (features of 1 and 2 threads were the same bits).

A third is for work of many independent parts: `map_single_threaded` gives each part to one thread,
and so the threads meet only at the end of all.
"""

import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

__all__ = [
    "OF_LONG_OPERATIONS",
    "THREAD_VARIABLES",
    "Neighbours",
    "available_cpus",
    "configure_threads",
    "cpu_quota",
    "crowded",
    "crowding_note",
    "look_again",
    "map_single_threaded",
    "sharing_cpus",
    "thread_share",
]

T = TypeVar("T")
R = TypeVar("R")

# Turns of OpenMP's waiting loop before a thread sleeps. GNU's default of 300,000 is longer than a
# neighbour's turn on the CPU; far fewer than these slow down training on a quiet machine, since
# waking a thread takes longer than most gaps between parallel regions.
SPIN = 8000
# Interval at which the use of CPUs is looked at. The kernel counts it in steps of 10 ms.
LOOK_SECONDS = 0.1
# Use of CPUs by others that counts as nobody's.
NEGLIGIBLE = 0.25
# Share of its threads that a long operation gives up, at most: one of milliseconds takes 1.7 times
# as long with all of them beside a neighbour (benchmarks/neighbours.py), or with 0.6 of them alone.
OF_LONG_OPERATIONS = 0.4
# Environment variables of the number of threads, which libraries read when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Set to "off", `sharing_cpus` does nothing.
SHARING = "HEADSTART_SHARE_CPUS"
CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1.

    The smallest of: the CPUs that it may run on (``taskset``), a container's quota (control groups
    v1 and v2, rounded down), and PYTHON_CPU_COUNT.
    """
    cpus = [affinity()]
    # Python 3.13 has os.process_cpu_count, which knows it; older ones do not.
    if (count := os.environ.get("PYTHON_CPU_COUNT", "")).isdecimal():
        cpus.append(int(count))
    if math.isfinite(quota := cpu_quota()):
        cpus.append(math.floor(quota))
    return max(1, min(cpus))


def thread_share(workers: int) -> int:
    """Return the threads of each of some workers: an equal share of the CPUs, at least 1.

    Where OMP_NUM_THREADS says a number, a worker has no more than that: so that a study gives the
    same last digits with any number of workers.
    """
    share = max(1, available_cpus() // max(1, workers))
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


def affinity() -> int:
    """Return the number of CPUs that the scheduler may run this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(cgroups: Path = CGROUPS, process: Path = Path("/proc/self/cgroup")) -> float:
    """Return the CPUs that this process's control groups allow; infinity without a quota.

    A group's quota holds for all groups below it, so the smallest on the way up counts.
    """
    try:
        entries = [line.split(":", 2) for line in process.read_text().splitlines()]
    except OSError:
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the path may be that outside of it: then only the root is there.
        root = cgroups / controllers if controllers else cgroups
        inside = Path(path.lstrip("/"))
        quotas += [_quota_of(root / folder) for folder in (inside, *inside.parents)]
    return min(quotas)


def _quota_of(group: Path) -> float:
    try:
        if (file := group / "cpu.max").exists():
            quota, period = file.read_text().split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        # "max" in v2 and -1 in v1 mean no limit.
        return int(quota) / int(period) if quota.strip() not in ("max", "-1") else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def configure_threads(
    threads: int | None = None, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Set threads of arithmetic and how they wait, in the environment of OpenMP and BLAS.

    Parameters
    ----------
    threads
        Threads of this process, which replace what is set. By default torch chooses (one per
        core), except where fewer CPUs are available than it knows of and OMP_NUM_THREADS is unset.
    environ
        Changed in place.
    """
    if threads is not None:
        for name in THREAD_VARIABLES:
            environ[name] = str(threads)
        # The main script, which ran before a worker began, may have imported torch.
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
    elif (cpus := available_cpus()) < affinity():
        environ.setdefault("OMP_NUM_THREADS", str(cpus))
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", str(SPIN))


class Neighbours:
    """CPUs that other processes use, of those that this one may run on.

    Parameters
    ----------
    usage
        Returns the CPU seconds until now of all processes and of this one.
    clock
        Returns seconds. It is read at each look, `usage` only where the last is long enough ago.
    """

    def __init__(
        self,
        usage: Callable[[], tuple[float, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._usage, self._clock = usage, clock
        self._last, self._used = (clock(), *usage()), 0.0

    def cpus(self) -> float:
        """Return the CPUs that others used since the last look, if that is long enough ago."""
        if self._clock() - self._last[0] >= LOOK_SECONDS:
            now = (self._clock(), *self._usage())
            seconds, everyone, own = (new - old for new, old in zip(now, self._last, strict=True))
            self._last, self._used = now, max(0.0, (everyone - own) / seconds)
        return self._used

    def leave(self, threads: int, cpus: int) -> int:
        """Return how many of our threads to use on this many CPUs: at least half of them.

        With fewer than half, neighbours that take what they get would push us out altogether.
        """
        taken = math.ceil(self.cpus() - NEGLIGIBLE)
        return max(1, (threads + 1) // 2, min(threads, cpus - taken))


def _usage() -> tuple[float, float]:
    """Read the use of this process's CPUs, in seconds: by all, and by this process.

    Raises
    ------
    OSError, ValueError
        This system does not tell: it is not Linux.
    """
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    with open("/proc/stat") as file:
        lines = [line.split() for line in file if line.startswith("cpu")]
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are among the users.
    rows = [[int(value) for value in line[1:9]] for line in lines if line[0] in names]
    ticks = sum(sum(row) - row[3] - row[4] for row in rows)
    if not rows:
        raise ValueError("/proc/stat lists none of the CPUs")
    return ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


@cache
def _neighbours() -> Neighbours | None:
    """Return the neighbours of this process; None where the system does not tell."""
    if os.environ.get(SHARING, "").lower() == "off":
        return None
    try:
        return Neighbours(_usage)
    except (AttributeError, OSError, ValueError, IndexError):
        return None


class _IdleTeam:
    """A second team of OpenMP threads, which only sleeps: it shortens the waits of all others.

    How long a thread spins is read when OpenMP is loaded, and cannot be changed after that. But
    GNU's lets threads spin 100 turns at most while it manages more of them than there are CPUs
    (`gomp_throttled_spin_count_var` of GCC's libgomp/config/linux/wait.h), and sleepers count.

    Parameters
    ----------
    threads
        Of the team that computes.
    """

    def __init__(self, threads: int) -> None:
        size = max(2, affinity() - threads + 2)
        self._ready, self._end = threading.Event(), threading.Event()
        self._first = threading.Thread(target=self._sleep, args=(size,), daemon=True)
        self._first.start()
        self._ready.wait()

    def _sleep(self, size: int) -> None:
        # Something must be computed for a team to be formed: free(NULL) does nothing.
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
        for library in _gnu_openmp():
            library.GOMP_parallel(nothing, None, size, 0)
        self._ready.set()
        self._end.wait()

    def close(self) -> None:
        """End its threads."""
        self._end.set()
        self._first.join()


@cache
def _gnu_openmp() -> tuple[ctypes.CDLL, ...]:
    """Return the copies of GNU's OpenMP that are loaded: torch has one of its own."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        files = sorted({line.split(maxsplit=5)[5] for line in lines if "/libgomp" in line})
        return tuple(ctypes.CDLL(file) for file in files)
    except OSError:
        return ()


class _Block(threading.local):
    """The outermost block of `sharing_cpus` of a thread.

    `given` is the number of threads before it, 0 outside of a block; `used` is that inside, and
    `most` how many may be given up. `idle` is there while waits are short.
    """

    given = used = most = 0
    idle: _IdleTeam | None = None


_block = _Block()


@contextmanager
def sharing_cpus(give_up: float = 0.5) -> Iterator[None]:
    """Make way for other processes that use the CPUs, in what torch computes inside the block.

    Threads that wait for each other sleep at once, and there are fewer of them. This is as at the
    moment at which the block begins, until `look_again`. A block within another one is a part of
    it.

    Parameters
    ----------
    give_up
        Share of the threads that may be given up; where others take more than that, all are kept.
        0 keeps the order of sums, and so all results to the last bit.
    """
    import torch

    if _block.given:
        look_again()
        yield
        return
    _block.given = _block.used = torch.get_num_threads()
    _block.most = math.floor(give_up * _block.given)
    try:
        look_again()
        yield
    finally:
        if _block.used != _block.given:
            torch.set_num_threads(_block.given)
        _shorten_waits(False)
        _block.given = 0


def look_again() -> None:
    """Adapt to the neighbours, in a block of `sharing_cpus`.

    For loops that may take longer than neighbours take to come; elsewhere it does nothing. It costs
    microseconds, and a tenth of a millisecond every LOOK_SECONDS.
    """
    if _block.given < 2 or (neighbours := _neighbours()) is None:
        return
    threads = neighbours.leave(_block.given, affinity())
    _shorten_waits(neighbours.cpus() > NEGLIGIBLE)
    if _block.given - threads > _block.most:
        threads = _block.given
    if threads != _block.used:
        import torch

        torch.set_num_threads(threads)
        _block.used = threads


def crowded() -> bool:
    """Return whether others use CPUs that the threads of this block of `sharing_cpus` are to have.

    Outside of a block, and with one thread, it is False.
    """
    if _block.given < 2 or (neighbours := _neighbours()) is None:
        return False
    return neighbours.leave(_block.given, affinity()) < _block.used


def map_single_threaded(compute: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Return what `compute` makes of each part, in their order: one thread computes a part.

    As many are computed at a time as torch has threads here. Each runs in a thread of its own, so
    that `compute` must not change what others read.
    """
    import torch

    threads = torch.get_num_threads()
    # Of this thread too: some libraries know one number for all threads.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as executor:
            return list(executor.map(compute, parts))
    finally:
        torch.set_num_threads(threads)


def _shorten_waits(short: bool) -> None:
    """Let waiting threads sleep at once, unless the user said how they wait; or as before."""
    spin = os.environ.get("GOMP_SPINCOUNT", str(SPIN))
    chosen = "OMP_WAIT_POLICY" in os.environ or spin != str(SPIN)
    if short and _block.idle is None and not chosen:
        _block.idle = _IdleTeam(_block.given)
    elif not short and _block.idle is not None:
        _block.idle.close()
        _block.idle = None


# Processes that were warned: this one, not those that it was forked from.
_warned = set[int]()


def crowding_note() -> str:
    """Return a warning that other processes slow down the training of this one, else "".

    Training keeps its number of threads; the user may choose another one. What others use is that
    since the last look: call this before and after what takes long. A process is warned once.
    """
    import torch

    threads, cpus, neighbours = torch.get_num_threads(), affinity(), _neighbours()
    if neighbours is None or os.getpid() in _warned:
        return ""
    fewer = neighbours.leave(threads, cpus)
    if fewer == threads:
        return ""
    _warned.add(os.getpid())
    return (
        f"other processes use {neighbours.cpus():.1f} of {cpus} CPUs, and the {threads} threads of "
        f"training wait for each other: OMP_NUM_THREADS={fewer} may be faster for small networks "
        "(results differ in their last digits)"
    )
