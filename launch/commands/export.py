"""`launchbay export RUN`: the weights of a run as one plain safetensors file, which needs nothing of ours."""

import json
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from launchbay import UserError
from launchbay.launch.files import replacing
from launchbay.launch.record.run_folder import config_file
from launchbay.models import checkpoints


def export_run(run: Path, pointer: str, target: Path, console: Console) -> None:
    """Write the weights of the "best" or "last" checkpoint of `run` (their averages, with --ema) to `target`, a new
    file or the folder for it. Names are those of the network's own state_dict; with several networks each has its
    network's before it. The file's metadata: task, step, config (JSON), and the launchbay that trained it.

    Raises:
        UserError: `run` is no run or has no intact checkpoint, or the file is there already or cannot be written.
    """
    config_file(run)
    mode = config_file(run).stat().st_mode
    target = target / f"{run.resolve().name}.safetensors" if target.is_dir() else target
    if target.exists():
        raise UserError(f"{target} exists already", "name another file; nothing was written")
    where = checkpoints.find_checkpoint(run / "checkpoints", pointer)
    state = checkpoints.read_state(where)
    networks = list(state["optimizers"])
    files = {name: checkpoints.read_tensors(where / checkpoints.file_of(name)) for name in networks}
    named = {f"{name}.{key}": value for name, tensors in files.items() for key, value in tensors.items()}
    trained = {key for own in state["optimizers"].values() for group in own["groups"] for key in group["params"]}
    parameters = sum(named[key].numel() for key in trained)
    alone = f"{networks[0]}." if len(networks) == 1 else ""
    write_weights(
        target,
        {key.removeprefix(alone): value for key, value in named.items()},
        {
            "task": state["config"]["task"],
            "step": str(state["step"]),
            "config": json.dumps(state["config"]),
            "launchbay": state["versions"]["launchbay"],
        },
        mode,
    )
    said = f"{target}: {', '.join(networks)} of step {state['step']}, {len(named)} tensors, {parameters:,} parameters"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def write_weights(target: Path, tensors: dict[str, Tensor], metadata: dict[str, str], mode: int) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            save_file(tensors, temporary, metadata)
            temporary.chmod(mode)  # safetensors lets nobody else read its files
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {target}: {error}", "name another place, or free some disk space") from error
