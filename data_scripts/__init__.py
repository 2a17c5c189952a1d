"""Data sets and measurements; a command a module, as `python -m data_scripts.download`."""

from speechrnn.cli import explain_missing_packages

explain_missing_packages()
