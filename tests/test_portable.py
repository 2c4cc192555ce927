"""Every module can be imported where a system lacks what only Linux, or only POSIX, has."""

import subprocess
import sys

# All that is ours is imported twice: first so that other libraries are there, then without what
# macOS or Windows lack.
CODE = """
import errno, importlib, os, pkgutil, select, signal, sys
import headstart

def every():
    for found in pkgutil.walk_packages(headstart.__path__, "headstart."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)

every()
for name in [name for name in sys.modules if name.split(".")[0] == "headstart"]:
    del sys.modules[name]
for module, names in {
    errno: ["EDQUOT", "ELOOP"],
    os: ["sysconf", "set_blocking", "fork", "geteuid", "getuid", "sched_getaffinity", "mkfifo",
         "posix_fadvise", "statvfs", "O_DIRECTORY", "getloadavg"],
    select: ["PIPE_BUF", "poll", "epoll"],
    signal: ["SIGKILL", "SIGHUP", "SIGALRM", "SIGXFSZ", "SIGPIPE", "SIGUSR1"],
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
import headstart
every()
from headstart.cli.main import main
sys.argv = ["headstart", "--help"]
main()
"""


def test_every_module_is_imported_without_what_other_systems_lack():
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "How much of a head start" in done.stdout
