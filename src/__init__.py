import os

from src.errors import stop_quietly_while_starting

stop_quietly_while_starting()

# OpenMP's threads sleep while they wait for one another: alone as fast as threads that spin, and twice as fast beside
# another busy process, where what they spin for has no core. Torch's OpenMP reads it once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
