import os
from pathlib import Path

from src.errors import stop_quietly_while_starting

stop_quietly_while_starting()

# OpenMP's threads look for work some thousand times before they sleep: where waking one takes long, as in many virtual
# machines, training is then 1.7 times as fast as with threads that sleep at once. Spinning on, as the library would,
# takes the core from whatever else is busy. Torch's OpenMP reads both once, when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    os.environ["OMP_WAIT_POLICY"] = "passive"

# Large tensors lie in large pages where the system grants them: a virtual machine takes long to hand out small ones,
# and its processor to find them. Torch reads this when it makes its first tensor.
if Path("/sys/kernel/mm/transparent_hugepage").exists():
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# MKL may compute the same product of small matrices in another way the next time: a run that is killed and goes on
# would not come to the same weights. Told so, it does not, with as many threads. It reads this at its first product.
os.environ.setdefault("MKL_CBWR", "AUTO")
