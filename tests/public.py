"""The public functions and classes, and the examples in their docstrings.

python -m tests.public      lists the names whose docstring has no example
"""

import doctest
import importlib
import inspect
from types import ModuleType

import difflayers

# Public modules that `difflayers.__all__` does not name.
FURTHER_MODULES = (
    "difflayers.amwc.device",
    "difflayers.amwc.draw",
    "difflayers.panoptic.draw",
    "difflayers.pictures",
    "difflayers.solver",
)


def modules() -> dict[str, ModuleType]:
    """The public modules, by their full name."""
    named = [getattr(difflayers, name) for name in difflayers.__all__]
    found = [difflayers, *(value for value in named if inspect.ismodule(value))]
    return {module.__name__: module for module in [*found, *map(importlib.import_module, FURTHER_MODULES)]}


def names(module: ModuleType) -> list[str]:
    """The public names of a module: its `__all__`, or what the module defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]


def functions_and_classes() -> dict[str, object]:
    """Everything public that has a docstring of its own, by its full name."""
    found = {}
    for prefix, module in modules().items():
        for name in names(module):
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                found[f"{prefix}.{name}"] = value
    return found


def examples(name: str, value: object) -> list[doctest.DocTest]:
    """The examples in the docstrings of a public name and its methods.

    As usual for doctests, an example may use what its module has imported.
    """
    return [test for test in doctest.DocTestFinder().find(value, name) if test.examples]


if __name__ == "__main__":
    missing = [name for name, value in functions_and_classes().items() if not examples(name, value)]
    print(*missing, f"{len(missing)} of {len(functions_and_classes())} without an example", sep="\n")
