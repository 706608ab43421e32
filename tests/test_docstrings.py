"""Every public name has an example in its docstring, and it prints what it says."""

import doctest

import pytest

from tests import public

NAMES = public.functions_and_classes()


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_prints_what_it_says(name):
    examples = public.examples(name, NAMES[name])
    assert examples, "no example in the docstring"
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        runner.run(example, out=printed.append)
    assert not runner.failures, "".join(printed)
