"""Tasks of SLURM that `srun` started with plain python: they become the processes of one run."""

import os
import re

from launchbay import UserError, number_of
from launchbay.launch.others import process_count, threads_per_process

FIRST_PORT, PORTS = 15_000, 15_000
"""Below those that Linux gives to connections by itself (32768 and more)."""
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""By which SLURM shows a task its GPUs: NVIDIA's, AMD's and Intel's."""


def join_tasks() -> None:
    """Where srun has started this process as one of several tasks, and no launcher has told it of the others, set what
    launchers do: RANK, WORLD_SIZE, where they meet... A MASTER_ADDR or MASTER_PORT that is set already is kept;
    WORLD_SIZE=1 keeps the tasks apart.

    Source: the output environment variables of srun(1).

    Raises:
        UserError: there is not enough to go by.
    """
    tasks = tasks_of_step()
    if tasks == 1 or "RANK" in os.environ or os.environ.get("WORLD_SIZE", str(tasks)) != str(tasks):
        return
    told = {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": "0" if sees_one_gpu() else os.environ.get("SLURM_LOCALID", "0"),
        "LAUNCHBAY_LOCAL_PROCESS": os.environ.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(tasks_of_node(tasks)),
        "MASTER_ADDR": os.environ.get("MASTER_ADDR") or first_node(),
        "MASTER_PORT": os.environ.get("MASTER_PORT") or str(port()),
    }
    os.environ |= told
    # Before torch is imported, which reads it then. With --cpus-per-task a process sees its own cores only.
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK") or str(threads_per_process()))


def tasks_of_step() -> int:
    """Return how many tasks srun has started together with this one. In a batch script, which has no step of its own,
    SLURM_NTASKS only says how many srun would start."""
    if "SLURM_STEP_ID" not in os.environ or "SLURM_PROCID" not in os.environ:
        return 1
    return int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1"))


def sees_one_gpu() -> bool:
    """Return whether srun shows this task one GPU (--gpus-per-task=1), which then is the first for each of them."""
    visible = next((value for name in VISIBLE if (value := os.environ.get(name))), "")
    return bool(visible) and "," not in visible


def nodes_of_step() -> int:
    return int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_NNODES", "1"))


def tasks_of_node(tasks: int) -> int:
    """Return how many of the `tasks` are on this node. SLURM writes 2(x3),1 for three nodes of two, and one of one."""
    counts = list[int]()
    for part in os.environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        if found := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part):
            counts += [int(found[1])] * int(found[2] or 1)
    node = int(os.environ.get("SLURM_NODEID", "0"))
    return counts[node] if node < len(counts) else max(1, tasks // nodes_of_step())


def first_node() -> str:
    """Return the name of the node of task 0: node01 of node[01-03,7],other.

    Raises:
        UserError: there are several nodes, and no list of them.
    """
    if nodes_of_step() == 1:
        return "127.0.0.1"
    listed = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST")
    if not listed:
        raise UserError(
            f"srun has started {tasks_of_step()} tasks on {nodes_of_step()} nodes, and SLURM_JOB_NODELIST is not set",
            'export MASTER_ADDR="$(scontrol show hostnames | head -n 1)"   before srun',
        )
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])+", listed)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else listed)


def port() -> int:
    """Return a port that is the same for all tasks of a step, and another one for other steps."""
    job, step = (int(os.environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return FIRST_PORT + (job * 10 + step) % PORTS


def describe_tasks() -> list[str]:
    """Say how SLURM's tasks have become processes, or that they have not."""
    if process_count() > 1 and tasks_of_step() == process_count() and "TORCHELASTIC_RUN_ID" not in os.environ:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        nodes = number_of(nodes_of_step(), "node")
        return [f"the processes are the {tasks_of_step()} tasks of srun, on {nodes}; they met at {where}"]
    given = int(os.environ.get("SLURM_NTASKS", "1"))
    if process_count() == 1 and given > 1:
        return [f"note: SLURM gave this job {given} tasks, and one process trains; `srun` before the command uses all"]
    return []
