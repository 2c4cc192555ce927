"""CPUs that may be used, how threads wait, and CPUs that are left to neighbours."""

import math
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from headstart import threads
from headstart.threads import Neighbours, available_cpus, configure_threads, cpu_quota


@pytest.mark.parametrize(("files", "groups", "expected"), [
    # Version 2: the group itself, one above it, none.
    ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
    ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 2.0),
    ({"a/cpu.max": "max 100000\n"}, "0::/a\n", math.inf),
    # In a container whose files are those of its own group, named from outside.
    ({"cpu.max": "50000 100000\n"}, "0::/docker/4f2a\n", 0.5),
    # Version 1, with several controllers in one folder.
    ({"cpu,cpuacct/x/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
     "5:memory:/x\n4:cpu,cpuacct:/x\n", 3.0),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu:/\n", math.inf),
    # Damaged, or another system.
    ({"cpu.max": "few\n"}, "0::/\n", math.inf),
    ({"cpu.max": "1 0\n"}, "0::/\n", math.inf),
    ({}, "no such line\n", math.inf),
    ({}, None, math.inf),
])  # fmt: skip
def test_a_containers_quota_is_read(tmp_path, files, groups, expected):
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    if groups is not None:
        (tmp_path / "self").write_text(groups)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "self") == expected


@pytest.mark.parametrize(("cpus", "quota", "count", "expected"), [
    (8, math.inf, "", 8), (8, 2.7, "", 2), (8, 0.5, "", 1), (8, 12.0, "", 8), (8, 4.0, "3", 3),
    (8, math.inf, "default", 8), (1, math.inf, "6", 1),
])  # fmt: skip
def test_cpus_are_the_least_that_anything_allows(monkeypatch, cpus, quota, count, expected):
    monkeypatch.setattr(threads, "affinity", lambda: cpus)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setenv("PYTHON_CPU_COUNT", count)
    assert available_cpus() == expected


@pytest.mark.parametrize(("quota", "before", "changed"), [
    # torch chooses the number where it knows all; waiting threads soon sleep.
    (math.inf, {}, {"GOMP_SPINCOUNT": str(threads.SPIN)}),
    (2.0, {}, {"GOMP_SPINCOUNT": str(threads.SPIN), "OMP_NUM_THREADS": "2"}),
    # What is set stays.
    (2.0, {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "7"}, {}),
    (math.inf, {"OMP_WAIT_POLICY": "active"}, {}),
])  # fmt: skip
def test_the_environment_is_set_and_what_a_user_set_is_left(monkeypatch, quota, before, changed):
    monkeypatch.setattr(threads, "affinity", lambda: 4)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    environ = dict(before)
    configure_threads(environ=environ)
    assert environ == before | changed


def test_a_worker_gets_its_share_also_where_torch_is_loaded(monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    environ = {"OMP_NUM_THREADS": "9"}
    configure_threads(3, environ)
    assert given == [3]
    assert [environ[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")] == ["3"] * 3


class Usage:
    """CPU seconds of all and of this process, and a clock."""

    def __init__(self):
        self.seconds, self.used = 100.0, (5000.0, 40.0)

    def __call__(self):
        return self.used

    def clock(self):
        return self.seconds

    def go_on(self, seconds, others, own):
        everyone, mine = self.used
        self.seconds += seconds
        self.used = (everyone + seconds * (others + own), mine + seconds * own)


@pytest.mark.parametrize(("cpus", "others", "own", "expected"), [
    (2, 0.0, 2.0, 2), (2, 0.2, 1.8, 2), (2, 0.5, 1.5, 1), (2, 1.0, 1.0, 1), (2, 1.4, 0.6, 1),
    (16, 0.0, 16.0, 16), (16, 1.0, 15.0, 15), (16, 4.1, 11.9, 12), (16, 8.0, 8.0, 8),
    # Half of the CPUs at least, whatever the others take.
    (16, 14.0, 2.0, 8), (3, 2.9, 0.1, 2), (1, 0.9, 0.1, 1),
])  # fmt: skip
def test_cpus_of_others_are_left_to_them(cpus, others, own, expected):
    usage = Usage()
    neighbours = Neighbours(usage, usage.clock)
    assert neighbours.leave(cpus, cpus) == cpus
    usage.go_on(1.0, others, own)
    assert neighbours.leave(cpus, cpus) == expected
    # Too soon to look again: what was found holds.
    usage.go_on(threads.LOOK_SECONDS / 2, 0.0, cpus)
    assert neighbours.leave(cpus, cpus) == expected
    usage.go_on(1.0, 0.0, cpus)
    assert neighbours.leave(cpus, cpus) == cpus


def test_fewer_threads_than_cpus_leave_room_already():
    usage = Usage()
    neighbours = Neighbours(usage, usage.clock)
    usage.go_on(1.0, 4.0, 4.0)
    assert neighbours.leave(4, 8) == 4


@pytest.fixture
def busy(monkeypatch):
    """Two of four CPUs are used by others, as far as this process knows."""
    usage = Usage()
    found = Neighbours(usage, usage.clock)
    usage.go_on(1.0, 2.0, 2.0)
    monkeypatch.setattr(threads, "_neighbours", lambda: found)
    monkeypatch.setattr(threads, "affinity", lambda: 4)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield usage
    torch.set_num_threads(before)


def test_threads_are_given_back_at_the_end_of_a_block(busy):
    with threads.sharing_cpus():
        found = [torch.get_num_threads()]
        # Neighbours go in the middle of a block, and come.
        busy.go_on(1.0, 1.0, 3.0)
        threads.look_again()
        found.append(torch.get_num_threads())
        with threads.sharing_cpus():
            busy.go_on(1.0, 0.0, 2.0)
            threads.look_again()
        found.append(torch.get_num_threads())
        busy.go_on(1.0, 3.0, 1.0)
        threads.look_again()
        found.append(torch.get_num_threads())
    assert [*found, torch.get_num_threads()] == [2, 3, 4, 2, 4]
    threads.look_again()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("give_up", "expected"), [(0.5, 2), (0.4, 4), (0, 4)])
def test_a_block_gives_up_no_more_threads_than_it_says(busy, give_up, expected):
    with threads.sharing_cpus(give_up):
        assert torch.get_num_threads() == expected
        # One of four CPUs is less than 0.4 of them.
        busy.go_on(1.0, 1.0, 3.0)
        threads.look_again()
        assert torch.get_num_threads() == (4 if give_up == 0 else 3)


def own_threads():
    return set(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not threads._gnu_openmp(), reason="torch waits by another OpenMP than GNU's")
def test_an_idle_team_shortens_waits_while_neighbours_are_there(busy):
    torch.ones(1 << 20).add(1)
    before = own_threads()
    with threads.sharing_cpus(0):
        # More threads than CPUs: four compute, two sleep. Each copy of OpenMP has a second one.
        size = 1 + len(threads._gnu_openmp())
        first = own_threads() - before
        assert len(first) == size
        threads.look_again()
        assert own_threads() - before == first
        busy.go_on(1.0, 0.0, 4.0)
        threads.look_again()
        gone(first)
        busy.go_on(1.0, 1.0, 3.0)
        threads.look_again()
        second = own_threads() - before
        assert len(second) == size
    gone(second)


def gone(idle):
    """Wait for threads to end: the last of a team leave by themselves."""
    for _ in range(1000):
        if not own_threads() & idle:
            return
        time.sleep(0.01)
    pytest.fail("threads are left")


def test_parts_are_computed_by_one_thread_each_and_come_in_their_order(busy):
    def compute(part):
        time.sleep(0.01 * (4 - part))
        return part, torch.get_num_threads(), threading.get_ident()

    assert not threads.crowded()
    with threads.sharing_cpus(0.4):
        # Two of four threads would have to go, more than may.
        assert threads.crowded()
        parts, used, where = zip(*threads.map_single_threaded(compute, range(4)), strict=True)
        assert (parts, set(used)) == ((0, 1, 2, 3), {1})
        assert threading.get_ident() not in where
        assert torch.get_num_threads() == 4
        with pytest.raises(ZeroDivisionError):
            threads.map_single_threaded(lambda part: 1 / part, range(4))
        assert torch.get_num_threads() == 4
        busy.go_on(1.0, 0.0, 4.0)
        assert not threads.crowded()
    with threads.sharing_cpus():
        # What others use is left to them.
        busy.go_on(1.0, 2.0, 2.0)
        threads.look_again()
        assert not threads.crowded()


@pytest.mark.parametrize("variable", [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "active")])
def test_waits_that_a_user_chose_are_left_alone(busy, monkeypatch, variable):
    monkeypatch.setenv(*variable)
    with threads.sharing_cpus(0):
        assert threads._block.idle is None


def test_training_beside_others_is_noted_once(monkeypatch):
    usage = Usage()
    busy = Neighbours(usage, usage.clock)
    monkeypatch.setattr(threads, "_neighbours", lambda: busy)
    monkeypatch.setattr(threads, "affinity", lambda: 4)
    monkeypatch.setattr(threads, "_warned", set())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    usage.go_on(60.0, 0.1, 3.9)
    assert not threads.crowding_note()
    usage.go_on(60.0, 1.4, 2.6)
    note = threads.crowding_note()
    assert "1.4 of 4 CPUs" in note
    assert "OMP_NUM_THREADS=2 " in note
    assert not threads.crowding_note()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_this_system_tells_who_uses_its_cpus():
    everyone, own = threads._usage()
    assert everyone > 0
    assert own > 0


@pytest.mark.parametrize(("failing", "sharing", "known"), [
    (None, "", True), (None, "off", False),
    (OSError, "", False), (ValueError, "", False), (AttributeError, "", False),
])  # fmt: skip
def test_neighbours_are_known_where_the_system_tells(monkeypatch, failing, sharing, known):
    def usage():
        if failing:
            raise failing
        return 1.0, 0.5

    monkeypatch.setattr(threads, "_usage", usage)
    monkeypatch.setenv(threads.SHARING, sharing)
    assert isinstance(threads._neighbours.__wrapped__(), Neighbours) == known


def test_importing_the_library_sets_nothing_and_the_command_line_does():
    program = "import os, {module}; print(os.environ.get('GOMP_SPINCOUNT'))"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GOMP")}
    for module, expected in (
        ("headstart", "None"),
        ("runpy, sys; sys.argv = ['headstart', '--version']; import headstart.__main__ as m\n"
         "try: m.main()\nexcept SystemExit: pass\nimport sys", str(threads.SPIN)),
    ):  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-c", program.format(module=module)],
            capture_output=True, text=True, env=environ, check=True,
        )  # fmt: skip
        assert ended.stdout.split()[-1] == expected
