"""Data sets and measurements; a command a module, as `python -m data_scripts.download`."""

from speechrnn.programs import start_module

start_module()
