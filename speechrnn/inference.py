"""onnxruntime, imported in this one place, and the sessions that run graphs with it.

Whoever imports a module of this package has run `speechrnn/__init__.py` first, which keeps onnxruntime from reporting
to its maker; that has to happen before onnxruntime is imported, so nothing else here imports it.
"""

import os
from typing import TypeAlias

import onnxruntime

VERSION: str = onnxruntime.__version__
Session: TypeAlias = onnxruntime.InferenceSession


def session(model: bytes | str | os.PathLike[str], *, as_written: bool = False) -> Session:
    """A session on the CPU, on one thread.

    Parameters
    ----------
    model : bytes of an ONNX file, or its path
    as_written : bool
        leave out the optimisations that change what is computed: in front of a MatMul, onnxruntime takes
        DequantizeLinear as a leave to round what is multiplied to 8 bits too

    Raises
    ------
    Exception
        of a kind of onnxruntime's own (they have no common class) if it can't be run; nothing is printed
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more threads spin between blocks and gain nothing on a net of this size
    options.log_severity_level = 4  # errors come as exceptions
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    content = model if isinstance(model, bytes) else os.fspath(model)
    return Session(content, options, providers=["CPUExecutionProvider"])
