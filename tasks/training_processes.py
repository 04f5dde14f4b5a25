"""Stages that train, by several processes: Lightning Fabric starts the stage's command again for each.

Every process does the whole stage, and shares batches with the others where it trains.
The first one, which was there before, alone writes and tells anything. Where one ends, all do.
"""

import importlib.util
import logging
import os
import threading
import time
from datetime import timedelta

from eyas.config import RuntimeParams
from eyas.errors import MissingExtraError, ParameterError
from eyas.training.data_parallel import Processes

_PATIENCE = timedelta(hours=1)
"""How long processes wait for each other: for another machine, or while the first one judges an epoch."""
_FIRST = "EYAS_FIRST_PROCESS"
_BY_HAND = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
_LOOKS_AGAIN_SECONDS = 1.0


def start_processes(runtime: RuntimeParams) -> Processes:
    """Start what ``runtime.processes`` and ``runtime.nodes`` ask for, or join those that started this process.

    Raises:
        ParameterError, MissingExtraError: they cannot start here.
    """
    if runtime.processes * runtime.nodes == 1:
        return Processes()
    check_processes(runtime)
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)  # its banner
    fabric = Fabric(
        accelerator="cuda" if _on_gpus(runtime) else "cpu",
        devices=runtime.processes,
        num_nodes=runtime.nodes,
        strategy=DDPStrategy(timeout=_PATIENCE),
    )
    if "LOCAL_RANK" in os.environ:
        _end_with(int(os.environ.get(_FIRST, os.getppid())))
    else:
        os.environ[_FIRST] = str(os.getpid())
    fabric.launch()
    processes = Processes.running()
    if not processes.first:
        logging.disable(logging.WARNING)
    return processes


def check_processes(runtime: RuntimeParams) -> None:
    """See that several processes can train here.

    Raises:
        MissingExtraError: Lightning Fabric is not installed.
        ParameterError: there are fewer GPUs than processes, or the other machines cannot be found.
    """
    if runtime.processes * runtime.nodes == 1:
        return
    if importlib.util.find_spec("lightning_fabric") is None:
        msg = "lightning-fabric is not installed: pip install 'eyas[distributed]', or leave runtime.processes at 1"
        raise MissingExtraError(msg)
    missing = [name for name in _BY_HAND if name not in os.environ]
    if runtime.nodes > 1 and missing:
        msg = f"runtime.nodes is {runtime.nodes}: set {', '.join(missing)} in the environment of each machine"
        raise ParameterError(msg)
    if _on_gpus(runtime):
        import torch

        if torch.cuda.device_count() < runtime.processes:
            msg = (
                f"runtime.processes is {runtime.processes}, and this machine has {torch.cuda.device_count()} GPUs: "
                "each process takes one; lower it, or set runtime.device to cpu"
            )
            raise ParameterError(msg)


def _on_gpus(runtime: RuntimeParams) -> bool:
    from tasks import stage

    return stage.device(runtime) == "cuda"


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, even where it waits for others."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS_AGAIN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="eyas-first-process", daemon=True).start()
