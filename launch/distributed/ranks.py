"""Which process of how many this one is, as launchers and SLURM tell it in the environment."""

import os

from launchbay.launch.distributed.slurm import join_tasks
from launchbay.launch.errors import Missing
from launchbay.launch.others import process_count, process_rank

NUMBERS = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
)


def find_rank() -> None:
    """Check what the environment says of this process and of the others; tasks of srun become processes.

    Raises:
        Missing: it is no number, or there are not so many processes. Each process says so: which one it is cannot be
            known.
        UserError: what `join_tasks` raises.
    """
    for name in NUMBERS:
        if (value := os.environ.get(name)) and not value.isdecimal():
            raise Missing(f"{name}={value} is not a number", "launchers set it; otherwise unset it")
    join_tasks()
    if process_rank() >= process_count():
        raise Missing(
            f"RANK={process_rank()}, but WORLD_SIZE={process_count()}: ranks go from 0 to {process_count() - 1}",
            "launchers set both; by hand, give each process a rank of its own",
        )
