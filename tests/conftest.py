"""For all tests: Ctrl-C means Ctrl-C, also where the tests run in a background shell, which ignores it and hands that
on to every process that a test starts."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
