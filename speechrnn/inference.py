"""onnxruntime, imported in this one place, and the sessions that run graphs with it.

Whoever imports a module of this package has run `speechrnn/__init__.py` first, which keeps onnxruntime from reporting
to its maker; that has to happen before onnxruntime is imported, so nothing else here imports it.
"""

import functools
import os
from typing import TypeAlias

import onnxruntime

VERSION: str = onnxruntime.__version__
Session: TypeAlias = onnxruntime.InferenceSession
RunOptions: TypeAlias = onnxruntime.RunOptions

# Of all sessions together, weights and all. A second of sound needs less than 2 MB, and there are 5 s at a time in a
# thread for each core; a graph may ask for terabytes.
MOST_MEMORY = 2**29 + (os.cpu_count() or 1) * 2**24  # bytes


def session(content: bytes, *, as_written: bool = False) -> Session:
    """A session on the CPU, on one thread.

    Parameters
    ----------
    content : bytes of an ONNX file
    as_written : bool
        leave out the optimisations that change what is computed: in front of a MatMul, onnxruntime takes
        DequantizeLinear as a leave to round what is multiplied to 8 bits too

    Raises
    ------
    Exception
        of a kind of onnxruntime's own (they have no common class) if it can't be run; nothing is printed
    """
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more threads spin between blocks and gain nothing on a net of this size
    options.log_severity_level = 4  # errors come as exceptions
    options.add_session_config_entry("session.use_env_allocators", "1")  # the one of _bound_memory
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Without enable_fallback=0 it prints "EP Error" on stdout, where results are, and tries the same once more.
    return Session(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)


@functools.cache
def _bound_memory() -> None:
    """Register the allocator that sessions here share; what it doesn't give is an error of theirs."""
    kind = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(kind, onnxruntime.OrtArenaCfg(MOST_MEMORY, -1, -1, -1))
