"""Layers and solvers in several threads, and in worker processes of a DataLoader."""

import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.trust.layers import REPEATABLE


class Steps(Dataset):
    """Item i is what the step of that number gives, in whichever process it is asked for."""

    names = tuple(REPEATABLE)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return REPEATABLE[self.names[index]](index)


def in_threads(work, count=8):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", REPEATABLE)
def test_eight_threads_get_what_one_alone_gets(name):
    step = REPEATABLE[name]
    expected = [step(seed) for seed in range(8)]
    right = [0] * 8

    def work(seed):
        for _ in range(3):
            right[seed] += torch.equal(step(seed), expected[seed])

    in_threads(work)
    assert right == [3] * 8


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader_get_what_the_parent_gets(start):
    steps = Steps()
    expected = [steps[index] for index in range(len(steps))]
    # The parent has used everything in threads before it forks.
    in_threads(lambda number: [steps[index] for index in range(number, len(steps), 4)], count=4)
    loader = DataLoader(steps, batch_size=None, num_workers=2, multiprocessing_context=start)
    for name, found, wanted in zip(steps.names, loader, expected, strict=True):
        assert torch.equal(found, wanted), name
