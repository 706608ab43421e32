"""Settings for the whole suite."""

import os
from pathlib import Path

# Before any test imports Numba, so that the kernels are compiled once a checkout and not once a run.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".numba_cache"))
