"""For all tests: Ctrl-C means Ctrl-C, also where the tests run in a background shell, which ignores it and hands that
on to every process that a test starts; and nothing is asserted of time, on machines that others use too."""

import multiprocessing
import signal

from hypothesis import settings

signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What takes seconds is imported once, in the process that others are forked from. Where they are killed, it is at work.
multiprocessing.set_forkserver_preload(
    ["src.encoders.cache", "src.training.train", "torch._dynamo", "mlflow.store.tracking.sqlalchemy_store"]
)
