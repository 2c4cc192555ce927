"""`python -m headstart` is `headstart`."""

import signal
import sys

from headstart.interrupts import INTERRUPTED, interrupt, interrupt_is_handled

__all__ = ["main"]


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
