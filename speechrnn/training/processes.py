"""Distributed data parallel training: Fabric or torchrun starts the processes, each takes a part of every batch.

Every process reads all audio, draws the same batches, and trains on its own rows (`data.part`); gradients are averaged
(DistributedDataParallel), so all have the same weights. The first process alone prints and writes files.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed

from speechrnn.errors import ConfigError, InputError
from speechrnn.training.config import Config

_others: list[Any] = []  # the processes that this one has started


def launch(config: Config) -> Fabric:
    """Start the other processes, or join those of torchrun, which then decides how many there are.

    Raises
    ------
    ConfigError
        if a batch can't be split evenly, or the machine lacks such devices
    """
    train, nodes, devices = config.train, 1, config.train.devices
    torchrun = distributed.is_available() and distributed.is_torchelastic_launched()
    if torchrun:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
        if train.devices not in (1, devices):
            raise ConfigError(f"train.devices: is {train.devices}, but torchrun starts {devices}: leave it out")
    _check_divisible(config, devices * nodes)
    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)  # no banner
    warnings.filterwarnings("ignore", "Grad strides do not match")  # of depthwise kernels: a copy of a few numbers
    if os.environ.get("LOCAL_RANK", "0") != "0" and not torchrun:  # the first process has started this one
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends the others
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    try:
        fabric = Fabric(
            accelerator=train.accelerator,
            strategy="ddp" if devices * nodes > 1 else train.strategy,
            devices=devices,
            num_nodes=nodes,
            precision=cast(Any, train.precision),
        )
        fabric.launch()
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        asked = f"{devices} devices, train.accelerator = {train.accelerator}, train.precision = {train.precision}"
        raise ConfigError(f"train: this machine can't give {asked}: {error}") from None
    _others.extend(getattr(fabric.strategy.launcher, "procs", []))
    atexit.register(_end)
    return fabric


def leave(code: int) -> NoReturn:
    """End at once: in the usual end of Python, a thread of gloo that just lets go of a tensor aborts the process."""
    _end()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _check_divisible(config: Config, processes: int) -> None:
    clips = processes * (2 if config.augment.twins else 1)  # two views stay together
    for name, count, unit in (
        ("train.batch_size", config.train.batch_size, clips),
        ("stream.rows", config.stream.rows, processes),
    ):
        if count % unit:
            raise ConfigError(
                f"{name}: {count} can't be shared among {processes} processes: make it a multiple of {unit}"
            )


def _end() -> None:
    """When the first process leaves, none is left behind, waiting for it."""
    for process in _others:
        process.kill()


def _follow(first: int) -> None:
    """End with the first process even if that was killed, perhaps before this one has met it."""
    while os.getppid() == first:
        time.sleep(1.0)
    os._exit(1)


@contextlib.contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """An InputError in one process ends all: the first one raises it, the others exit silently.

    They exit with 0: for any other code Fabric would kill the first one, perhaps before it has printed the error.
    """
    wrong: InputError | None = None
    try:
        yield
    except InputError as error:
        wrong = error
    if fabric.world_size > 1:
        of_each: list[InputError | None] = [None] * fabric.world_size
        distributed.all_gather_object(of_each, wrong)
        wrong = next(filter(None, of_each), None)
    if wrong is not None:
        if not fabric.is_global_zero:
            leave(0)
        raise wrong


def mean_weights(fabric: Fabric, *counts: int) -> list[float]:
    """Weights for the means of local `counts` of values, world_size * local / global count: the loss is then global.

    DistributedDataParallel averages the gradients of the processes, whose means are over different counts.
    """
    if fabric.world_size == 1:
        return [1.0] * len(counts)
    everywhere = torch.tensor(counts, dtype=torch.float64)
    everywhere = cast(Tensor, fabric.all_reduce(everywhere, reduce_op="sum"))
    return [
        fabric.world_size * count / max(1.0, of_all) for count, of_all in zip(counts, everywhere.tolist(), strict=True)
    ]


def own_rows(fabric: Fabric, of_all: Tensor) -> Tensor:
    """This process's rows of what the first process has drawn at random for all."""
    if fabric.world_size > 1:
        distributed.broadcast(of_all, 0)
    return of_all[fabric.global_rank :: fabric.world_size]
