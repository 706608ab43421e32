"""The examples in the docstrings of public names print what they say."""

import doctest

import pytest

from tests import public

NAMES = public.functions_and_classes()


@pytest.mark.parametrize("name", [name for name in NAMES if public.examples(name, NAMES[name])])
def test_example_in_a_docstring_prints_what_it_says(name):
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in public.examples(name, NAMES[name]):
        runner.run(example, out=printed.append)
    assert not runner.failures, "".join(printed)
