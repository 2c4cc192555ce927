"""Processes of their own: started as from a prompt, or forked with everything imported.

A forked one is for tests that kill or interrupt a run, let two compete, or have workers: a started
one takes seconds of imports, which those tests are not about.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

# As tests find it, before any of them changes it.
ENVIRONMENT = dict(os.environ)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch", "torchvision.transforms.v2", "timm", "safetensors.torch", "headstart.study",
     "headstart.trial", "headstart.pretraining", "headstart.training.loop", "headstart.cli.main",
     "headstart.cli.run_command", "headstart.cli.results_tables", "scipy.stats", "sklearn.datasets"]
)  # fmt: skip
SIGNALLED = """
import os, pkgutil, signal

owner, name, left = pkgutil.resolve_name("{}"), "{}", {}
function = getattr(owner, name)

def counted(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.{})
    return function(*arguments, **options)

setattr(owner, name, counted)
"""
INSTALLED = """
import sys
sys.path.insert(0, {!r})
from headstart.registry import REGISTRIES
for registry in REGISTRIES:
    vars(registry).pop("plugins", None)
"""
COMMAND = """
from headstart.__main__ import main
sys.argv[0] = "headstart"
main()
"""


def headstart_process(*arguments: object, **options) -> subprocess.Popen:
    """Start a command in a process of its own, as from a prompt: Ctrl-C reaches it.

    Where tests run as a shell's background job, interrupts are ignored, and children inherit that.
    """
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(
        [sys.executable, "-m", "headstart", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def limit_file_size(n_bytes: int) -> None:
    """Make the kernel refuse to write past `n_bytes` of a file, as a full disk does.

    For `preexec_fn`. The child writes no bytecode: a cut file of it would fail every later process.
    """
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


class Forked:
    """`python -c CODE ARGUMENTS`, with the methods of `subprocess.Popen` that tests use.

    Parameters
    ----------
    code, *arguments
        What runs there, and its `sys.argv[1:]`.
    **environment
        Variables that are set there.
    """

    def __init__(self, code: str, *arguments: object, **environment: str) -> None:
        self._files = [tempfile.mkstemp()[1] for _ in range(2)]
        argv, variables = ["-c", *map(str, arguments)], {**os.environ, **environment}
        began = (code, argv, variables, Path.cwd(), self._files)
        _start_server()
        self._process = CONTEXT.Process(target=_run, args=began)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def said(self) -> str:
        """What it has written on the standard output so far."""
        return Path(self._files[0]).read_text()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; return what it wrote on its two streams."""
        self._process.join(timeout)
        assert self.returncode is not None, "it does not end"
        out, err = (Path(file).read_text() for file in self._files)
        for file in self._files:
            os.unlink(file)
        return out, err


def signalled(owner: str, name: str, after: int = 0, signal: str = "SIGKILL") -> str:
    """Return code by which a process signals itself when a method is called after so many calls.

    `owner` is the class, as "module:Class".
    """
    return SIGNALLED.format(owner, name, after, signal)


def installed_in(site: Path) -> str:
    """Return code by which a process finds the packages of a folder, as if it began with them."""
    return INSTALLED.format(str(site))


def forked_command(*arguments: object, before: str = "", **environment: str) -> Forked:
    """Start a command of headstart; the code `before` runs there first."""
    return Forked(f"import sys\n{before}\n{COMMAND}", *arguments, **environment)


class ForkedWorkers:
    """Stands for `multiprocessing` in `headstart.executors.processes`: its workers are forked."""

    parent_process = staticmethod(multiprocessing.parent_process)

    @staticmethod
    def get_context(_: str) -> type["ForkedWorkers"]:
        return ForkedWorkers

    Pipe = staticmethod(CONTEXT.Pipe)

    @staticmethod
    def Process(target: Callable[..., None], args: tuple[object, ...], daemon: bool):  # noqa: N802
        _start_server()
        began = (dict(os.environ), target, args)
        return CONTEXT.Process(target=_serve, args=began, daemon=daemon)


def _serve(
    variables: dict[str, str], target: Callable[..., None], args: tuple[object, ...]
) -> None:
    os.environ.clear()
    os.environ.update(variables)
    target(*args)


@cache
def _start_server() -> None:
    """Start what is forked from, as if before all tests: none of their variables is seen there."""
    changed = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(ENVIRONMENT)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(changed)


def _run(
    code: str, argv: list[str], variables: dict[str, str], folder: Path, files: list[str]
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, file in zip((1, 2), files, strict=True):
        opened = os.open(file, os.O_WRONLY)
        os.dup2(opened, stream)
        os.close(opened)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = argv
    exec(code, {"__name__": "__main__"})
