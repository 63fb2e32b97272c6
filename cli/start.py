"""The entry point of `sluice`.

Until a command runs, and after it, Ctrl-C ends the process at once and without a word: Python's own
handler would print a traceback of whatever is being imported. `cli.lib.signals.interruptible` lets
a command be interrupted in the usual way.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    """Run one command and return the exit status, as `cli.main.main` does."""
    from cli.lib.streams import prepare

    prepare()
    from cli.main import main

    return main()
