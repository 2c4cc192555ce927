"""Workers in Slurm jobs, by submitit: each job runs one item after the other.

A worker and this process exchange files in a private folder that both see. A job runs items until
it has to end, until this process shows no sign of life, or until Slurm is about to end it.
Pickles are read from files that belong to this user, and that nobody else may write.
"""

import logging
import math
import os
import pickle
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from headstart.context import default_cache
from headstart.devices import Device
from headstart.errors import ExecutorError, WorkersLostError
from headstart.executors.executor import (
    ExpectedWork,
    Send,
    adopt_variables,
    ignore,
    machine_name,
    not_installed,
    own_variables,
    refuse_other_software,
    software_versions,
    unknown_work,
)
from headstart.executors.pool import WorkerDiedError, WorkerPool, packed_answer
from headstart.files import writable_folder
from headstart.interrupts import interrupts_blocked
from headstart.threads import configure_threads

__all__ = ["open_slurm"]

# What submitit submits to: "slurm", or "local", processes on this machine.
CLUSTER_VARIABLE = "HEADSTART_SLURM_CLUSTER"
# Minutes of a job where nothing is expected; of its start and all that is not foreseen.
DEFAULT_MINUTES, MARGIN_MINUTES = 240, 60
# How many times the minutes that are expected, and the largest share of the work that a job is
# given: after it another one goes on. Limits in steps of so many minutes.
MARGIN, SHARE_MINUTES, STEP_MINUTES = 2.0, 690, 10
# Seconds before its time limit at which Slurm has a job end.
END_DELAY_SECONDS = 60
# Interval of signs of life, and the time after which one who shows none counts as gone.
LIFE_SECONDS, GONE_SECONDS = 5.0, 120.0
# Intervals at which files are looked at, growing from one to the other.
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 1.0
# Interval at which a thread looks whether it has to stop.
STOP_LOOK = 0.1
# How long a job may wait in the queue before the user is informed.
PATIENCE_SECONDS = 20.0
# States of jobs that run, or may do so yet.
ALIVE = {"READY", "PENDING", "RUNNING", "UNKNOWN", "CONFIGURING", "COMPLETING", "SUSPENDED"}
# Length of an answer, before it.
LENGTH_BYTES = 8
LONGEST_REASON = 200
# Time that a job on this machine has to end.
END_SECONDS = 3.0


@contextmanager
def open_slurm(
    workers: int,
    device: Device,
    *,
    partition: str | None = None,
    time: str | None = None,
    slurm_option: Sequence[str] | None = None,
    cpus_per_worker: int | None = None,
    gpus_per_worker: float | None = None,
    memory_per_worker: float | None = None,
    note: Callable[[str], None] = ignore,
    expected: Callable[[], ExpectedWork | None] = unknown_work,
) -> Iterator["SlurmWorkers"]:
    """Start workers in Slurm jobs; the factory in the registry.

    Parameters
    ----------
    workers
        Number of jobs.
    device
        Where items run.
    partition
        As ``sbatch --partition``.
    time
        Time limit of a job: minutes, H:MM:SS, D-HH:MM; by default that of `job_minutes`.
    slurm_option
        Further options of sbatch, each KEY=VALUE.
    cpus_per_worker
        CPUs of a job; 1 by default.
    gpus_per_worker
        GPUs of a job; by default 1 for the device ``"cuda"``, else none.
    memory_per_worker
        GB of a job; what the partition gives by default.

    Raises
    ------
    ExecutorError
        No submitit, no Slurm, an option that cannot be.
    """
    gpus = gpus_per_worker if gpus_per_worker is not None else float(device == "cuda")
    if gpus != int(gpus):
        raise _invalid("gpus_per_worker", gpus, "a whole number: Slurm jobs do not share a GPU")
    cpus = cpus_per_worker or 1
    own = dict(map(_key_and_value, slurm_option or ()))
    own |= {"partition": partition} if partition else {}
    with _private_folder(default_cache() / "slurm") as folder:
        minutes = minutes_of(time) if time else job_minutes(expected(), workers)
        executor = _submitter(folder / "jobs", minutes, own)
        if not time:
            note(f"each Slurm job runs {minutes // 60}:{minutes % 60:02}:00 at most (see --time)")
        executor.update_parameters(
            cpus_per_task=cpus,
            gpus_per_node=int(gpus) or None,
            mem_gb=memory_per_worker,
            # Newer releases of Slurm do not pass the options of sbatch on to srun.
            slurm_srun_args=[f"--cpus-per-task={cpus}"],
        )
        with SlurmWorkers(executor, folder, workers, cpus, note) as pool:
            yield pool


class SlurmWorkers(WorkerPool):
    """A pool of Slurm jobs, submitted by submitit's `executor`; `folder` is for the exchange."""

    remote = True

    def __init__(
        self,
        executor: Any,
        folder: Path,
        workers: int,
        threads: int,
        note: Callable[[str], None] = ignore,
    ) -> None:
        self._executor, self._folder, self._threads_each = executor, folder, threads
        self._waits = False
        # submitit's lists of jobs are for one thread.
        self.lock = threading.Lock()
        super().__init__(self._start_job, workers, note=note)
        self._life = threading.Thread(target=self._live, daemon=True)
        self._life.start()

    def stop(self) -> None:
        super().stop()
        self._life.join()

    def _live(self) -> None:
        """Show signs of life, which each job looks for."""
        number = 0
        while not self.stopped:
            number += 1
            # On a file system that is slow or full, the next one may be written.
            with suppress(OSError):
                _write(self._folder / "alive", str(number).encode())
            for _ in range(int(LIFE_SECONDS / STOP_LOOK)):
                if self.stopped:
                    break
                time.sleep(STOP_LOOK)

    def _start_job(self, number: int) -> "SlurmWorker":
        folder = self._folder / f"worker-{number}-{uuid4().hex[:8]}"
        folder.mkdir(mode=0o700)
        own = own_variables()
        # Jobs on this machine would print a traceback; what waits for them is interrupted, and ends
        # them.
        with self.lock, interrupts_blocked():
            try:
                job = self._executor.submit(
                    serve, str(folder), self._threads_each, own, GONE_SECONDS
                )
            # A partition that is not there, no quota, sbatch that is missing: each its own kind.
            except Exception as error:
                raise WorkersLostError(
                    f"Slurm refused a job ({_first_line(error)}): see --partition, --time, "
                    "--slurm-option",
                    code="executor.job_refused",
                    reason=_first_line(error),
                ) from error
        worker = SlurmWorker(job, folder, self)
        began = time.monotonic()
        try:
            worker.wait_for_start(lambda: self._tell_wait(job, began))
        except BaseException:
            worker.stop()
            raise
        return worker

    def _tell_wait(self, job: Any, began: float) -> None:
        if not self._waits and time.monotonic() - began > PATIENCE_SECONDS:
            self._waits = True
            self._note(f"waiting for Slurm to start job {job.job_id} (see `squeue --me`)")


class SlurmWorker:
    """One job, seen from here.

    Its folder has ``item-N``, written here; ``answers-N``, which the job appends to; ``life``, the
    job's signs of life; ``end``, which tells it to end.
    """

    def __init__(self, job: Any, folder: Path, pool: SlurmWorkers) -> None:
        self._job, self._folder, self._pool = job, folder, pool
        self._items, self.place = 0, f"Slurm job {job.job_id}"
        # Until it says where it is.
        self.machine = self.place
        self._life, self._seen = b"", time.monotonic()

    def wait_for_start(self, while_waiting: Callable[[], None]) -> None:
        """Wait until the job runs, and check that it runs what this process does.

        Raises
        ------
        WorkerDiedError
            Slurm ended the job before.
        WorkersLostError
            It has other software.
        """
        for _ in self._looks(started=False):
            if (self._folder / "life").exists():
                break
            while_waiting()
        found = pickle.loads(read_private(self._folder / "versions"))  # noqa: S301 - checked
        self.machine = found.pop("machine")
        refuse_other_software(found, "Slurm's nodes")

    def run(self, function: Callable[[Any, Send], Any], item: Any, on_message: Send) -> Any:
        number, self._items = self._items, self._items + 1
        answers = self._folder / f"answers-{number}"
        _write(self._folder / f"item-{number}", pickle.dumps((function, item)))
        place = 0
        for _ in self._looks():
            with suppress(FileNotFoundError):
                records, n_bytes = _records(read_private(answers, place))
                place += n_bytes
                for record in records:
                    kind, content = pickle.loads(record)  # noqa: S301 - from a worker of our own
                    if kind == "message":
                        on_message(content)
                        continue
                    answers.unlink()
                    if kind == "error":
                        raise content
                    return content
        raise AssertionError("looks end by an error")

    def stop(self) -> None:
        with suppress(OSError):
            _write(self._folder / "end", b"")
        # Of a job on this machine, which is waited for.
        if process := getattr(self._job, "_process", None):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
                return
            # What it has started ends by itself: its folder is gone.
            process.kill()
            process.wait()
            return
        with self._pool.lock, suppress(subprocess.SubprocessError, OSError):
            self._job.cancel(check=False)

    def _looks(self, *, started: bool = True) -> Iterator[None]:
        """Wait a little longer each time, until the job is gone.

        Raises
        ------
        WorkerDiedError
            It is, or the pool was stopped.
        """
        pause, self._seen = SHORTEST_LOOK, time.monotonic()
        ended: str | None = None
        next_look = 0.0
        while not self._pool.stopped:
            yield
            # By now all that the job wrote before its end has been read.
            if ended:
                raise WorkerDiedError(ended)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LONGEST_LOOK
                ended = self._ended(started=started)
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_LOOK)
        raise WorkerDiedError("stopped")

    def _ended(self, *, started: bool) -> str | None:
        """Return why the job is at its end; None if it is not."""
        with suppress(FileNotFoundError):
            return read_private(self._folder / "ended").decode()
        with suppress(FileNotFoundError):
            life = read_private(self._folder / "life")
            if life != self._life:
                self._life, self._seen = life, time.monotonic()
        if started and time.monotonic() - self._seen > GONE_SECONDS:
            return f"no sign of life of job {self._job.job_id} for {GONE_SECONDS:.0f} s"
        with self._pool.lock:
            state = str(self._job.state).upper()
        if not state or state.split()[0].rstrip("+") in ALIVE:
            return None
        return f"job {self._job.job_id}: {state}"


def serve(folder: str, threads: int, variables: dict[str, str], patience: float) -> None:
    """Run items that come as files into a folder, in a job; its only function.

    The job ends when the process that waits for answers shows no sign of life for `patience`
    seconds.
    """
    place = Path(folder)
    adopt_variables(variables)
    configure_threads(threads)
    # By these Slurm announces the end of a job: its limit is near, or others take its place.
    for announced in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(announced, _end_job)
    if (place / "versions").exists():
        # Somebody requeued the job: another one has its place.
        return
    _write(place / "versions", pickle.dumps({**software_versions(), "machine": machine_name()}))
    threading.Thread(target=_watch, args=(place, patience), daemon=True).start()
    number, pause = 0, SHORTEST_LOOK
    try:
        while not (place / "end").exists():
            item = place / f"item-{number}"
            try:
                packed = read_private(item)
            except FileNotFoundError:
                time.sleep(pause)
                pause = min(1.5 * pause, LONGEST_LOOK)
                continue
            item.unlink()
            _answer(packed, place / f"answers-{number}")
            number, pause = number + 1, SHORTEST_LOOK
    except JobEndingError:
        reason = f"job on {machine_name()} ended by Slurm: time limit, or preempted"
        _write(place / "ended", reason.encode())


class JobEndingError(BaseException):
    """Slurm is about to end this job. No item's function may catch it as an error of its own."""


def _end_job(*_: object) -> None:
    raise JobEndingError


def _answer(packed: bytes, path: Path) -> None:
    """Run an item; append its messages to a file as they come, and its value."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:

        def add(answer: bytes) -> None:
            file.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)

        add(packed_answer(packed, lambda message: add(pickle.dumps(("message", message)))))
        # Other machines see it then.
        os.fsync(file.fileno())


def _watch(folder: Path, patience: float) -> None:
    """Show signs of life, and end this process when nobody waits for its answers."""
    number, alive, seen = 0, b"", time.monotonic()
    while True:
        number += 1
        # A folder that is gone is no sign of life either.
        with suppress(OSError):
            _write(folder / "life", str(number).encode())
            now = read_private(folder.parent / "alive")
            if now != alive:
                alive, seen = now, time.monotonic()
        if time.monotonic() - seen > patience:
            os._exit(0)
        for _ in range(int(LIFE_SECONDS / LONGEST_LOOK)):
            if (folder / "end").exists():
                os._exit(0)
            time.sleep(LONGEST_LOOK)


def read_private(path: Path, place: int = 0) -> bytes:
    """Return the content of a file from a place on.

    Raises
    ------
    FileNotFoundError
        It is not there (yet).
    ExecutorError
        It belongs to somebody else, or others may write it: a pickle in it could run their code
        (code ``executor.file_not_private``).
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ExecutorError(
                f"{path} can be written by others than this user: it is not read, since it could "
                "run their code",
                code="executor.file_not_private",
                path=str(path),
            )
        file.seek(place)
        return file.read()


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, for this user alone."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _records(content: bytes) -> tuple[list[bytes], int]:
    """Return the whole answers of a file's content, and how many bytes they take."""
    found, place = [], 0
    while len(content) >= place + LENGTH_BYTES:
        start = place + LENGTH_BYTES
        end = start + int.from_bytes(content[place:start], "big")
        if end > len(content):
            break
        found.append(content[start:end])
        place = end
    return found, place


@contextmanager
def _private_folder(parent: Path) -> Iterator[Path]:
    """Make a folder that this user alone may enter; remove it in the end."""
    writable_folder(parent)
    folder = parent / f"run-{uuid4().hex[:12]}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        # Jobs that are about to end may write logs.
        shutil.rmtree(folder, ignore_errors=True)


def _submitter(folder: Path, minutes: int, options: dict[str, str]) -> Any:
    """Return what submits jobs."""
    try:
        import submitit
    except ImportError as error:
        raise not_installed("slurm") from error
    logging.getLogger("submitit").setLevel(logging.ERROR)
    cluster = os.environ.get(CLUSTER_VARIABLE, "slurm")
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
    except (RuntimeError, ValueError) as error:
        raise ExecutorError(
            f"this machine cannot submit Slurm jobs ({_first_line(error)}): run headstart where "
            "sbatch and srun are installed",
            code="executor.no_slurm",
            cluster=cluster,
        ) from error
    setup = options.pop("setup", None)
    executor.update_parameters(
        name="headstart",
        timeout_min=minutes,
        slurm_setup=[setup] if setup else None,
        slurm_signal_delay_s=END_DELAY_SECONDS,
        # A job of ours that ends is replaced by a new one.
        slurm_additional_parameters={"no-requeue": True, **options},
    )
    return executor


def job_minutes(expected: ExpectedWork | None, workers: int) -> int:
    """Return the time limit of a job: an hour, and twice what it is expected to run.

    That is the longest trial, or an equal share of all of them up to half a day: a job that ends
    is followed by another.
    """
    if expected is None:
        return DEFAULT_MINUTES
    share = min(expected.minutes / max(1, workers), SHARE_MINUTES)
    minutes = MARGIN_MINUTES + MARGIN * max(share, expected.longest)
    return STEP_MINUTES * math.ceil(minutes / STEP_MINUTES)


def minutes_of(text: str) -> int:
    """Return minutes, rounded up, of a time as sbatch takes it: M, M:SS, H:MM:SS, D-HH[:MM[:SS]].

    Raises
    ------
    ExecutorError
        It is something else, or nothing (code ``executor.option_invalid``).
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise _invalid("time", text, "minutes, H:MM:SS or D-HH:MM")
    days, *given = match.groups()
    parts = [int(part) for part in given if part is not None]
    if days is not None or len(parts) == 3:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    found = 1440 * int(days or 0) + 60 * hours + minutes + (seconds > 0)
    if not found:
        raise _invalid("time", text, "more than 0 minutes")
    return found


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.lstrip("-").partition("=")
    if not (key and equals) or "\n" in text:
        raise _invalid("slurm_option", text, "KEY=VALUE, for example account=NAME")
    return key, value


def _invalid(option: str, value: object, expected: str) -> ExecutorError:
    return ExecutorError(
        f"invalid {option} '{value}': expected {expected}",
        code="executor.option_invalid",
        option=option,
        value=value,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [repr(error)])[0][:LONGEST_REASON]
