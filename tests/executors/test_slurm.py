"""What only Slurm jobs have: options of sbatch, files of their own, a queue, limits."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

import engines
from conftest import NETWORK, require
from headstart.executors import ExpectedWork, slurm
from headstart.executors.pool import STARTS
from headstart.executors.slurm import job_minutes, minutes_of, read_private
from headstart.study import Study
from refusals import refused


@pytest.mark.parametrize(("text", "minutes"), [
    ("90", 90), ("90:30", 91), ("4:00:00", 240), ("1-0", 1440), ("1-12:30", 2190),
    ("2-00:00:01", 2881),
])  # fmt: skip
def test_times_as_sbatch_takes_them(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("minutes", "longest", "workers", "limit"),
    [
        # An hour and twice an equal share of the work, in steps of ten minutes.
        (100, 5, 10, 80),
        (101, 5, 10, 90),
        # Twice the longest trial, however long.
        (1000, 1000, 16, 2060),
        # At most a day of what is shared.
        (1e6, 5, 16, 1440),
        (0, 0, 0, 60),
    ],
)
def test_the_time_limit_follows_from_what_is_expected(minutes, longest, workers, limit):
    assert job_minutes(ExpectedWork(minutes, longest), workers) == limit
    assert job_minutes(None, workers) == 240


@pytest.mark.parametrize(("option", "value"), [
    ("time", "4h"), ("time", "0"), ("time", "1:2:3:4"), ("slurm_option", ["account"]),
    ("slurm_option", ["=x"]), ("gpus_per_worker", 0.5),
])  # fmt: skip
def test_invalid_options(option, value, own_cache):
    with (
        refused("executor.option_invalid", option=option),
        engines.open_executor("slurm", 1, **{option: value}),
    ):
        pass


def test_a_file_that_others_can_write_is_not_read(tmp_path):
    file = tmp_path / "answers"
    file.write_bytes(b"pickle")
    file.chmod(0o600)
    assert read_private(file, 3) == b"kle"
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OSError, match="symbolic"):
        read_private(link)
    file.chmod(0o620)
    with refused("executor.file_not_private"):
        read_private(file)


def test_without_slurm(own_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(own_cache))
    with refused("executor.no_slurm"), engines.open_executor("slurm", 1):
        pass
    assert not list((own_cache / "slurm").iterdir())


JOBS = count(7)


@pytest.fixture
def fake_slurm(tmp_path, own_cache, monkeypatch) -> Path:
    """Programs of Slurm that keep what is submitted, and tell what is in the file `state`."""
    require(Path("/bin/sh").exists(), "/bin/sh")
    folder = tmp_path / "bin"
    folder.mkdir()
    # submitit keeps the state of every job that it has seen.
    number = next(JOBS)
    (folder / "number").write_text(str(number))
    programs = {
        "srun": "exit 1",
        "sbatch": f'cp "$1" {folder}/submitted; echo "Submitted batch job {number}"',
        "sacct": f'echo "JobID|State|NodeList"; echo "{number}|$(cat {folder}/state)|"',
        "scancel": f'echo "$1" >> {folder}/cancelled',
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_what_slurm_is_asked_for_and_a_job_that_it_cancels(fake_slurm):
    (fake_slurm / "state").write_text("CANCELLED by 0")
    options = {
        "partition": "gpu",
        "time": "1:00:00",
        "slurm_option": ["account=vision", "--gres-flags=enforce-binding"],
        "cpus_per_worker": 4,
        "gpus_per_worker": 1,
        "memory_per_worker": 16,
    }
    number = (fake_slurm / "number").read_text()
    cancelled = refused("executor.start_failed", reason=f"job {number}: CANCELLED BY 0")
    with engines.open_executor("slurm", 1, **options) as executor, cancelled:
        list(executor.map(engines.square, [1]))
    submitted = set((fake_slurm / "submitted").read_text().splitlines())
    assert submitted >= {
        "#SBATCH --partition=gpu",
        "#SBATCH --time=60",
        "#SBATCH --account=vision",
        "#SBATCH --gres-flags=enforce-binding",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --mem=16GB",
        "#SBATCH --no-requeue",
        f"#SBATCH --signal=USR2@{slurm.END_DELAY_SECONDS}",
    }
    assert (fake_slurm / "cancelled").read_text().split() == [number] * STARTS


def test_without_a_time_jobs_are_as_long_as_the_study_is_expected_to_take(fake_slurm):
    (fake_slurm / "state").write_text("CANCELLED by 0")
    options = {"expected": lambda: ExpectedWork(200, 20)}
    cancelled = refused("executor.start_failed")
    with engines.open_executor("slurm", 2, **options) as executor, cancelled:
        list(executor.map(engines.square, [1]))
    assert "#SBATCH --time=260" in (fake_slurm / "submitted").read_text().splitlines()


def test_a_job_that_sbatch_refuses(fake_slurm):
    (fake_slurm / "sbatch").write_text("#!/bin/sh\necho 'no such partition' >&2; exit 1\n")
    with engines.open_executor("slurm", 1) as executor, refused("executor.job_refused"):
        list(executor.map(engines.square, [1]))


def test_the_user_is_told_what_is_waited_for(fake_slurm, monkeypatch):
    (fake_slurm / "state").write_text("PENDING")
    monkeypatch.setattr(slurm, "PATIENCE_SECONDS", 0.1)

    def stop(note: str) -> None:
        notes.append(note)
        if "waiting" not in note:
            return
        threading.Thread(target=executor.stop).start()

    notes: list[str] = []
    with engines.open_executor("slurm", 1, note=stop) as executor, refused("executor.stopped"):
        list(executor.map(engines.square, [1]))
    number = (fake_slurm / "number").read_text()
    assert notes == [
        "each Slurm job runs 4:00:00 at most (see --time)",
        f"waiting for Slurm to start job {number} (see `squeue --me`)",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("slurm_here", "own_cache")
def test_a_job_near_its_time_limit_hands_its_item_to_another(tmp_path):
    held = tmp_path / "held"
    held.mkdir()

    def announce(message: str) -> None:
        heard.append(message)
        (worker,) = {int(file.name) for file in held.iterdir()} - seen
        seen.add(worker)
        if len(heard) == 1:
            # As Slurm does, a minute before.
            os.kill(worker, signal.SIGUSR2)
        else:
            (held / "go").write_text("")

    heard, seen = [], set()
    with engines.open_executor("slurm", 1) as executor:
        ((_, last),) = executor.map(engines.hold, [str(held)], announce)
    assert len(seen) == 2
    assert last in seen


def waits(pid: int, number: int) -> bool:
    """Whether a process was sent a signal that it blocks."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = int(status.partition("ShdPnd:")[2].split()[0], 16)
    return bool(pending & 1 << (number - 1))


@pytest.mark.slow
@pytest.mark.usefixtures("slurm_here", "own_cache")
def test_a_job_on_this_machine_writes_nothing_when_it_is_interrupted(tmp_path, monkeypatch, capfd):
    """Ctrl-C reaches all processes of a terminal; at the end, a job may be busy for long."""
    monkeypatch.setattr(slurm, "END_SECONDS", 0.2)
    held = tmp_path / "held"
    held.mkdir()

    def interrupt(_: str) -> None:
        (worker,) = executor._running.values()
        controller = worker._job._process
        controller.send_signal(signal.SIGINT)
        # Until it waits, or has ended what it was sent to: before that, nothing could be written.
        while controller.poll() is None and not waits(controller.pid, signal.SIGINT):
            time.sleep(0.01)
        os.kill(int(next(held.iterdir()).name), signal.SIGSTOP)
        threading.Thread(target=executor.stop).start()

    with engines.open_executor("slurm", 1) as executor, refused("executor.stopped"):
        list(executor.map(engines.hold, [str(held)], interrupt))
    worker = int(next(held.iterdir()).name)
    os.kill(worker, signal.SIGCONT)
    assert engines.ends(worker, seconds=20)
    assert not capfd.readouterr().err


COORDINATOR = """
import os, signal
import engines
from headstart.executors import ExpectedWork, slurm

slurm.GONE_SECONDS = 7.0
with engines.open_executor("slurm", 1) as executor:
    list(executor.map(engines.hold, [{folder!r}], lambda _: os.kill(os.getpid(), signal.SIGKILL)))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("slurm_here", "own_cache")
def test_a_job_ends_when_its_coordinator_is_gone(tmp_path):
    (tmp_path / "held").mkdir()
    program = COORDINATOR.format(folder=str(tmp_path / "held"))
    ran = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert ran.returncode == -9
    (worker,) = (int(file.name) for file in (tmp_path / "held").iterdir())
    assert engines.ends(worker, seconds=30)


@pytest.mark.slow
@pytest.mark.usefixtures("slurm_here", "own_cache")
def test_the_coordinator_needs_no_gpu(tmp_path):
    study = Study(models=[NETWORK], datasets=["digits"], limit=50, settings=["linear"])
    where = {"executor": "slurm", "workers": 1, "executor_options": {"gpus_per_worker": 0}}
    # Jobs without a GPU: it is they who miss it.
    run = study.run(tmp_path / "r.db", device="cuda", **where)
    assert [failure.error.split(":")[0] for failure in run.failures] == ["device 'cuda' is missing"]
