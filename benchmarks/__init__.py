"""Measurements of times and sizes for the tables of docs/; a command a module, as `python -m benchmarks.family`."""

from speechrnn.programs import start_module

start_module()
