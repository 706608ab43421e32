"""A thousand steps of training take no more memory than those before them."""

import gc
import tracemalloc

import psutil
import pytest

from tests.trust.layers import CHANGING, REPEATABLE

EVERY = {**REPEATABLE, **CHANGING}
STEPS = 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_a_thousand_steps_leak_nothing(name):
    step = EVERY[name]
    tracemalloc.start()
    try:
        # Inputs repeat, so that what is rightly kept, as by a pool of solutions, is soon complete. Warming up
        # takes long as tracemalloc misses that torch gives memory back until the same address is used again.
        objects, python, resident = used_after(step, STEPS)
        more_objects, more_python, more_resident = used_after(step, STEPS)
    finally:
        tracemalloc.stop()
    assert more_objects - objects < STEPS / 10
    assert more_python - python < 100 * STEPS  # bytes; less than a tensor a step, more than what is missed
    assert more_resident - resident < 8 << 20  # bytes


def used_after(step, count):
    """Objects, bytes of Python's memory and bytes of the process's after so many steps."""
    for number in range(count):
        step(number % 50)
    gc.collect()
    return len(gc.get_objects()), tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss
