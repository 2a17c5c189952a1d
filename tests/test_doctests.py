"""The examples in docstrings say what happens."""

import doctest
import importlib
import pkgutil

import pytest

import speechrnn

MODULES = [
    module.name
    for module in pkgutil.walk_packages(speechrnn.__path__, "speechrnn.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_show(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) > 5
