"""Finished experiments, a folder each; a command a module, as `python -m research.table`."""

from speechrnn.cli import start_module

start_module()
