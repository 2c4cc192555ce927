"""`python -m headstart` is `headstart`."""

import os
import signal
import sys
import threading
from importlib.machinery import ExtensionFileLoader
from types import FrameType

__all__ = ["INTERRUPTED", "interrupt", "interrupt_is_handled", "main"]

# Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130
# Seconds after which a Ctrl-C that came too early comes again.
AGAIN = 0.05


def interrupt_is_handled() -> None:
    """Let a Ctrl-C that was caught end in our exit code.

    One that came while a text was executed (as named tuples are made, in many imports) has Python
    end itself by the signal, until the next text is executed.
    """
    exec("")  # noqa: S102


def main() -> None:
    """Run a command. Ctrl-C while its modules are being imported ends it like any other time.

    Python then takes seconds to end: a second Ctrl-C ends it at once, without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        _run()
    except SystemExit as exit_:
        if exit_.code == INTERRUPTED:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; while a compiled module is being imported, as soon as that is over.

    Some of these (torch, onnxruntime) abort the process otherwise, or take it for a failure.
    """
    place = frame
    while place is not None:
        of_import = place.f_code.co_name in ("create_module", "exec_module")
        if of_import and isinstance(place.f_locals.get("self"), ExtensionFileLoader):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        place = place.f_back
    signal.default_int_handler(number, frame)


def _run() -> None:
    try:
        from headstart.threads import configure_threads

        configure_threads()
        from headstart.cli.main import main as run
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("interrupted\n")
        interrupt_is_handled()
        raise SystemExit(INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()
