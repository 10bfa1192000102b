"""What accelerate was told beside launchbay's own options: each setting is followed, refused by name, or said."""

import os
from pathlib import Path

import yaml

from launchbay import UserError
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.slurm import describe_tasks
from launchbay.launch.files import Json
from launchbay.launch.others import TORCHRUN, launch_command, process_count, runs_one_of

OTHER_PRECISION = "bf16, or fp32: --precision, or accelerate's --mixed_precision, which calls fp32 no"
SEVERAL_ON_CPU = "accelerate launch --config_file accelerate_configs/multi_cpu.yaml launch/run.py ..."
ENGINES = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG", "SAGEMAKER")
"""What ACCELERATE_USE_... may switch on, and launchbay does not do."""
DEVICES = {
    "MULTI_GPU": "GPU",
    "MULTI_XPU": "xpu",
    "MULTI_NPU": "npu",
    "MULTI_MLU": "mlu",
    "MULTI_SDAA": "sdaa",
    "MULTI_MUSA": "musa",
    "MULTI_HPU": "hpu",
    "MULTI_NEURON": "neuron",
    "XLA": "xla",
}
"""Values of `distributed_type` in accelerate's configuration, and the device of each. It calls XPUs GPUs too."""
KNOWN = (
    *("ACCELERATE_USE_CPU", "ACCELERATE_TORCH_DEVICE", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_DEBUG_MODE"),
    *("ACCELERATE_LOG_LEVEL", "ACCELERATE_ENABLE_RICH", "ACCELERATE_MIXED_PRECISION"),
    *("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", *(f"ACCELERATE_USE_{name}" for name in ENGINES)),
)
"""Variables that accelerate acts on, or `check_settings` looks at."""


def check_settings(options: TrainOptions, launcher: list[str]) -> None:
    """Check what accelerate was told, by its command line, its configuration or the environment.

    Raises:
        UserError: the options say otherwise, or it is nothing that launchbay does.
    """
    told, precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower(), options.hardware.precision
    if told != "no" and precision not in (None, told):
        raise UserError(f"accelerate was told {told}, --precision says {precision}", "give it in one of the two places")
    if told not in ("no", "bf16", "fp16"):
        raise UserError(f"accelerate was told {told}, which launchbay does not compute in", OTHER_PRECISION)
    parts, accumulate = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"), options.optimization.accumulate
    if parts not in ("1", str(accumulate)):
        said = f"accelerate was told to accumulate gradients of {parts} steps, --accumulate says {accumulate}"
        raise UserError(said, f"leave it out there; --accumulate {parts} computes each batch in so many parts")
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if compiler != "no":
        said = f"accelerate was told to compile with {compiler} (its dynamo_backend)"
        raise UserError(said, "leave it out there; --compile compiles with inductor")
    check_engines(settings(launcher))
    check_devices(launcher)


def check_engines(configured: Json) -> None:
    """Raise a UserError if accelerate is to split networks, or to take the steps."""
    kind = str(configured.get("distributed_type", "NO"))
    for name in ENGINES:
        asked = os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("true", "1")
        if asked or kind == name:
            hint = "leave it out of accelerate's options or configuration"
            hint += "; --shard shares out networks that are too large for one device" * (name != "SAGEMAKER")
            raise UserError(f"accelerate was told to use {name}, which launchbay does not", hint)


def check_devices(launcher: list[str]) -> None:
    """Raise a UserError if there is no device of the kind that accelerate was told: it would take the CPU unsaid."""
    import torch

    kind = settings(launcher).get("distributed_type")
    kind = "MULTI_GPU" if "--multi_gpu" in launcher else "XLA" if "--tpu" in launcher else kind
    if kind not in DEVICES or cpu_was_asked(launcher):
        return
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None or (kind != "MULTI_GPU" and found.type != DEVICES[kind]):
        there = f"there is {'a' if found else 'no'} {found.type if found else DEVICES[kind]} here"
        raise UserError(
            f"accelerate was told {kind}, and {there}",
            f"on the CPU: {SEVERAL_ON_CPU}   to be asked what is here: accelerate config",
        )


def config_in_force(launcher: list[str]) -> Path | None:
    """accelerate's configuration file: the one its command line names, otherwise the one in its cache, if any."""
    from accelerate.commands.config.config_args import default_config_file

    named = option(launcher, "config_file")
    file = Path(named or default_config_file)
    return file if file.is_file() else None


def option(launcher: list[str], name: str) -> str | None:
    """Return the value of accelerate's option `name` on its command line."""
    for place, word in enumerate(launcher):
        flag, _, value = word.partition("=")
        if flag.lstrip("-").replace("-", "_") == name:
            return value or launcher[place + 1]
    return None


def settings(launcher: list[str]) -> Json:
    """Return what accelerate's configuration says; torchrun has none."""
    file = config_in_force(launcher) if launcher and not runs_one_of(launcher, TORCHRUN) else None
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file else {}


def cpu_was_asked(launcher: list[str]) -> bool:
    return settings(launcher).get("use_cpu") is True or "--cpu" in launcher


def runs_on_cpu(launcher: list[str]) -> bool:
    """Return whether this is to run on the CPU. With several processes accelerate has to be told: `use_cpu: true` in
    its configuration does not reach them, and without a GPU each would take itself for the only one.
    """
    import torch

    return cpu_was_asked(launcher) or (process_count() > 1 and not torch.accelerator.is_available())


def check_processes(launcher: list[str], seen: int) -> None:
    """Raise a UserError if fewer processes run than were asked for: `accelerate launch --cpu --num_processes 2` starts
    one and does not say so.
    """
    asked = int(option(launcher, "num_processes") or settings(launcher).get("num_processes", 1))
    started = process_count()
    if max(asked, started) > seen == 1:
        raise UserError(
            f"{max(asked, started)} processes were asked for, but accelerate started one",
            f"on the CPU: {SEVERAL_ON_CPU}   on GPUs: add --multi_gpu",
        )


def describe_settings() -> list[str]:
    """Say which settings of the surroundings are in force that are not on the command line, and which are not used."""
    launcher, told = launch_command(), list[str]()
    if launcher and not runs_one_of(launcher, TORCHRUN) and not option(launcher, "config_file"):
        file = config_in_force(launcher)
        told += [f"accelerate's configuration, which its command line does not name: {file}"] if file else []
    ours = [name for name in sorted(os.environ) if name.startswith("ACCELERATE_")]
    on = [name for name in ours if os.environ[name].lower() not in ("", "0", "no", "false")]
    unused = [name for name in on if name not in KNOWN and not name.startswith("ACCELERATE_DYNAMO_")]
    return [*told, *(f"note: {name} is set, and not used" for name in unused), *describe_tasks()]
