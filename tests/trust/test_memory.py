"""A thousand steps of training take no more memory than a hundred."""

import gc
import tracemalloc

import psutil
import pytest

from tests.trust.layers import CHANGING, REPEATABLE

STEPS = {**REPEATABLE, **CHANGING}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_a_thousand_steps_leak_nothing(name):
    step, process = STEPS[name], psutil.Process()
    # Inputs repeat, so that what is rightly kept, as by a pool of solutions, is complete after the warm-up.
    for number in range(200):
        step(number % 50)
    gc.collect()
    tracemalloc.start()
    try:
        step(0)
        gc.collect()
        before, resident = tracemalloc.get_traced_memory()[0], process.memory_info().rss
        for number in range(1000):
            step(number % 50)
        gc.collect()
        python = tracemalloc.get_traced_memory()[0] - before
        memory = process.memory_info().rss - resident
    finally:
        tracemalloc.stop()
    assert python < 1000 * 8, f"{python} bytes of Python objects"  # less than one pointer a step
    assert memory < 8 << 20, f"{memory} bytes of memory"
