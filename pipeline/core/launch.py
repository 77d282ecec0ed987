"""Who started this process: nobody in particular, or a launcher that has started several.

Knows nothing of torch, so that a stage that needs none can ask.
"""

import os
from dataclasses import dataclass

from pipeline.core.errors import InputError

# Variables that other launchers of several processes leave, with their number.
_OTHERS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE")


@dataclass(frozen=True)
class World:
    """The processes that a launcher has started together.

    Attributes:
        launcher: "torchrun" or "srun".
        rank: number of this process, from 0.
        size: how many there are.
        nodes: on how many machines, equally many on each.
    """

    launcher: str
    rank: int
    size: int
    nodes: int


def world() -> World | None:
    """Return the world that torchrun or srun has started this process in; None if neither did.

    A shell inside an allocation of SLURM has SLURM_NTASKS, too, but what it starts is one
    process: only srun starts a step with several tasks, and tells it their number.

    Raises:
        InputError: a launcher started several processes in a way that is not understood.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        size, here = _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE")
        return _even(World("torchrun", _number("RANK", 0), size, max(size // here, 1)), here)
    if _number("SLURM_STEP_NUM_TASKS", 1) > 1:
        size, nodes = _number("SLURM_STEP_NUM_TASKS"), _number("SLURM_STEP_NUM_NODES", 1)
        here = _number("SLURM_NTASKS_PER_NODE", 0)
        if not here:
            raise InputError(
                f"SLURM_STEP_NUM_TASKS = {size}: how many tasks a node has is not said; should be "
                f"started with srun --ntasks-per-node={max(size // nodes, 1)}"
            )
        return _even(World("srun", _number("SLURM_PROCID", 0), size, nodes), here)
    if _number("SLURM_PROCID", 0) > 0:
        raise InputError(
            f"SLURM_PROCID = {os.environ['SLURM_PROCID']}: is one of several tasks, but "
            f"SLURM_STEP_NUM_TASKS does not say of how many; should be started with srun"
        )
    # Our own helper processes have WORLD_SIZE, but no RANK.
    others = (*_OTHERS, *(["WORLD_SIZE"] if "RANK" in os.environ else []))
    for name in others:
        if _number(name, 1) > 1:
            raise InputError(
                f"{name} = {os.environ[name]}: several processes, started by a launcher that is "
                f"not known here; should be torchrun, srun, or one process with SPML_DEVICES"
            )
    return None


def is_helper() -> bool:
    """Tell whether a launcher has started this process and it is not the first."""
    started = world()
    return started is not None and started.rank > 0


def devices(started: World | None) -> int:
    """Return how many processes there should be: the launcher's, or as SPML_DEVICES says.

    Raises:
        InputError: SPML_DEVICES is not a number of devices, or not that of the launcher.
    """
    default = 1 if started is None else started.size
    value = os.environ.get("SPML_DEVICES", str(default))
    # Nobody has a million; int of more digits could take long, or fail.
    if not value.isdecimal() or len(value) > 6 or int(value) < 1:
        raise InputError(f"SPML_DEVICES = {value!r}: should be a number of devices, 1 or more")
    if started is not None and int(value) != started.size:
        raise InputError(
            f"SPML_DEVICES = {value!r}: {started.launcher} has started {started.size} "
            f"process{'es' if started.size > 1 else ''}; should be {started.size}, or not be set"
        )
    return int(value)


def unused_tasks() -> int:
    """Return how many tasks SLURM grants where srun was not asked to start them; else 0."""
    tasks = _number("SLURM_NTASKS", 1)
    return tasks if tasks > 1 and "SLURM_STEP_NUM_TASKS" not in os.environ else 0


def _even(world_: World, here: int) -> World:
    if here * world_.nodes != world_.size:
        raise InputError(
            f"{world_.launcher}: has started {world_.size} processes on {world_.nodes} machines, "
            f"{here} of them here; should be equally many on each"
        )
    return world_


def _number(name: str, default: int | None = None) -> int:
    value = os.environ.get(name)
    if value is None and default is not None:
        return default
    # Above 0 in the least, but ranks.
    if value is None or not value.isdecimal() or len(value) > 9:
        raise InputError(f"{name} = {value!r}: is set by launchers; should be a whole number")
    return max(int(value), 0 if default == 0 else 1)
