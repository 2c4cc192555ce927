"""The probe could be published alone: which other modules it loads."""

import subprocess
import sys

import headstart.probe

ALLOWED = {"errors", "devices", "threads", "metrics", "probe"}


def test_it_loads_nothing_else_of_headstart():
    program = (
        "import sys, headstart.probe;"
        "print(*{n.split('.')[1] for n in sys.modules if n.startswith('headstart.')})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= ALLOWED


def test_its_public_names_exist():
    assert all(hasattr(headstart.probe, name) for name in headstart.probe.__all__)
