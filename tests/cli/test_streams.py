import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(arguments, stdout, **variables):
    return subprocess.run(
        [sys.executable, "-m", "headstart", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | variables,
        timeout=300,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"]])
def test_an_output_that_is_full_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        ended = run(arguments, full)
    assert ended.returncode == 2
    said = ended.stderr.decode()
    assert said.startswith("error: cannot write what the command says (No space left on device)")
    assert said.count("\n") == 1


def test_letters_that_the_output_lacks_are_escaped():
    arguments = ["analyze", "kornblith2019", "--resamples", "100"]
    ended = run(arguments, subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert rb"1.533 \xb1 0.0" in ended.stdout
