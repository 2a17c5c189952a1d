"""What the tables of docs/ are drawn by; a command a module, as `python -m benchmarks.family`."""

from speechrnn.programs import start_module

start_module()
