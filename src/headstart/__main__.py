"""`python -m headstart` is `headstart`."""

import signal
import sys

__all__ = ["INTERRUPTED", "interrupt_is_handled", "main"]

# Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130


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
