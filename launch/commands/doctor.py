"""`launchbay doctor`: what would run here, and the command for it."""

import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launchbay import __version__, number_of

if TYPE_CHECKING:
    import torch

CONFIGS = Path("accelerate_configs")
LIBRARIES = ("torch", "torchvision", "accelerate", "safetensors", "wandb", "timm")


def examine_machine(console: Console) -> None:
    from launchbay.devices import gpus
    from launchbay.launch.distributed.network import INTERFACE

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts().items():
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(table)
    console.print("\n[bold]commands[/bold]")
    for what, command in (of_checkout if CONFIGS.is_dir() else of_package)(len(gpus())):
        console.print(f"  {what:28}{command}", highlight=False, soft_wrap=True)
    console.print("\nfor several machines: launchbay doctor --machines HOST HOST...", highlight=False)
    for variable in ("WORLD_SIZE", "ACCELERATE_USE_CPU", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", INTERFACE):
        if variable in os.environ:
            console.print(
                f"note: {variable}={os.environ[variable]} is set here and changes what is started", highlight=False
            )


def facts() -> dict[str, str]:
    """Return what is here and what is in force, by name."""
    import torch

    from launchbay.devices import describe, gpus
    from launchbay.launch.distributed.settings import config_in_force
    from launchbay.launch.others import threads_per_process
    from launchbay.launch.record.wandb_mode import wanted_mode

    found = gpus()
    about = [describe(one) for one in found]
    tf32 = about[0].get("tf32") if about else None
    config = config_in_force([])
    return {
        "launchbay": f"{__version__} on {platform.platform()}",
        "python": f"{platform.python_version()} at {sys.executable}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "GPUs": ", ".join(one["gpu"] for one in about) or "none",
        **({"fp32 there": f"{tf32} in TF32 (NVIDIA_TF32_OVERRIDE=0: nothing)"} if tf32 else {}),
        "CPU": f"{number_of(threads_per_process(), 'thread')} for one process",
        "fast bf16": judge_bf16((*found, torch.device("cpu"))[0]),
        "accelerate config": f"{config}: it changes every `accelerate launch` without --config_file"
        if config
        else "none, so its defaults",
        "W&B": f"{wanted_mode(None, os.environ)[0]} unless --wandb says otherwise; "
        + (
            "a key is set"
            if os.environ.get("WANDB_API_KEY") or (Path.home() / ".netrc").is_file()
            else "no key, which offline does not need"
        ),
        "disk": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free in {Path.cwd()}",
    }


def judge_bf16(device: "torch.device") -> str:
    """Say whether --precision bf16 pays on `device`: whether a convolution is faster in it than in fp32."""
    from launchbay.devices import bf16_speedup

    try:
        speedup = bf16_speedup(device)
    except (RuntimeError, TypeError) as error:
        return f"not measured: {str(error).splitlines()[0]}"
    return f"{'yes' if speedup > 1.1 else 'no'}: a convolution ran {speedup:.2g} times as fast as in fp32, just now"


def of_package(gpus: int) -> list[tuple[str, str]]:
    """Return the commands that start a training in any folder."""
    several = f"accelerate launch --multi_gpu --num_processes {gpus} -m launchbay.launch.run --task superres"
    one = [("one GPU" if gpus else "one process on the CPU", "launchbay train superres")]
    return one + ([(f"{gpus} GPUs", several)] if gpus > 1 else [])


def of_checkout(gpus: int) -> list[tuple[str, str]]:
    """Return the commands that start one in a checkout, with its configurations."""

    def launch(config: str) -> str:
        return f"accelerate launch --config_file {CONFIGS}/{config}.yaml launch/run.py --task superres"

    # Two processes of one thread took 1.1 to 1.2 times as long as one of two: benchmarks/speed.md.
    on_cpu = [("one process on the CPU", launch("cpu")), ("two, slower on one machine", launch("multi_cpu"))]
    on_gpu = [("one GPU", launch("single_gpu"))] if gpus else []
    several = [(f"{gpus} GPUs", launch("multi_gpu").replace("launch/run.py", f"--num_processes {gpus} launch/run.py"))]
    return on_gpu + (several if gpus > 1 else []) + on_cpu
