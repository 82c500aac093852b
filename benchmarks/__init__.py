import src  # noqa: F401 - before torch, so that threads wait as they do in what is measured
