"""Other systems, as far as this one can show them: Python as it is on Windows, and GPUs without float64 (Apple's)."""

import json
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT, Command
from PIL import Image
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from launchbay import UserError
from launchbay.data.mixing import beta
from launchbay.data.resident import Unlabelled
from launchbay.launch.config.options import HardwareOptions, TrainOptions
from launchbay.launch.distributed.accelerator import check_precision
from launchbay.models.resize import imresize_weights, resample
from launchbay.tasks.figures.metrics import entropy, image_figures, mask_precision_recall

APPLE = torch.device("mps")


class NoFloat64(TorchDispatchMode):
    """Refuse float64 on Apple's GPUs, as torch does there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.device.type == "mps" and value.dtype == torch.float64:
                raise TypeError("the MPS framework doesn't support float64")
        return result


@pytest.mark.parametrize(
    "compute",
    [
        lambda image: [resample(image, (24, 24), "matlab")],
        lambda image: image_figures(["psnr", "mse", "mae"], image, image.flip(0)).values(),
        lambda image: [entropy(image), *mask_precision_recall(image > 0.5, image > 0.4)],
    ],
    ids=["imresize", "figures", "masks"],
)
def test_figures_are_exact_where_the_gpu_is_not(compute: Callable[[Tensor], list[Tensor]]) -> None:
    imresize_weights.cache_clear()  # tensors that are not fake
    with FakeTensorMode(), NoFloat64():
        assert all(len(value) == 2 for value in compute(torch.rand(2, 3, 96, 96, device=APPLE)))
    imresize_weights.cache_clear()


def test_mixup_draws_its_weights_where_the_gpu_has_no_float64() -> None:
    with NoFloat64():
        assert beta(torch.tensor([0.5]), 0.2).item() == pytest.approx(0.5)


def test_pictures_stay_where_they_can_be_augmented() -> None:
    images = Unlabelled(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "they are all alike")
    images.to(APPLE)
    assert images.pixels.device.type == "cpu"


def test_float64_is_refused_where_the_gpu_has_none() -> None:
    accelerator = cast(Accelerator, SimpleNamespace(device=APPLE, mixed_precision="no"))
    with pytest.raises(UserError, match="has no float64"):
        check_precision(TrainOptions(hardware=HardwareOptions(precision="fp64")), accelerator)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_where_python_is_as_on_windows(workers: int, command: Command, tmp_path: Path) -> None:
    """Pictures are read from a zip, by spawned workers too, and checkpoints written and read."""
    with zipfile.ZipFile("shapes.zip", "w") as archive:
        for number in range(24):
            picture = BytesIO()
            Image.new("RGB", (16, 16), (number * 10, 0, 0)).save(picture, "PNG")
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", picture.getvalue())
    options = ["--task", "classify", "--data", "shapes.zip", "--wandb", "off", "--run", "one", "--workers", workers]
    words = [str(word) for word in (*options, "--batch-size", 4, "--steps", 2)]
    first = command(sys.executable, ROOT / "tests/elsewhere.py", *words)
    assert first.returncode == 0, first.stdout + first.stderr
    again = command(sys.executable, ROOT / "tests/elsewhere.py", *words[:-1], "4")
    assert again.returncode == 0 and "continues from step 2" in again.stdout, again.stdout + again.stderr
    assert json.loads(Path("runs/one/summary.json").read_text())["step"] == 4


@pytest.mark.slow
def test_a_run_folder_is_locked_as_windows_locks(command: Command, tmp_path: Path) -> None:
    script = tmp_path / "lock.py"
    script.write_text(f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
import elsewhere
elsewhere.take_away()
from launchbay import UserError
from launchbay.launch.record.lock import lock
try:
    with lock(Path()):
        print("locked", flush=True)
        if len(sys.argv) == 1:
            subprocess.run([sys.executable, __file__, "second"])
except UserError as error:
    print(error)
""")
    said = command(sys.executable, script).stdout.splitlines()
    assert said[0] == "locked" and len(said) == 2 and "is in use by process" in said[1], said
    assert command(sys.executable, script, "second").stdout == "locked\n"
