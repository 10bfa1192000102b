"""`launchbay.train` and `launchbay.load`: runs in a program, which is left as it was found."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from conftest import difference, forget_accelerator, lines
from PIL import Image, ImageCms
from toys import Single

import launchbay
from launchbay import UserError
from launchbay.launch.commands import in_python
from launchbay.launch.files import Json
from launchbay.launch.record.lock import lock, owner_lives

SMALL: Json = {"steps": 2, "patch": 48, "width": 8, "blocks": 1, "batch_size": 4, "eval_every": 2, "wandb": "off"}


@pytest.fixture(scope="module")
def superres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launchbay.Run]:
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("python"))
    forget_accelerator()
    yield launchbay.train("superres", **SMALL)
    os.chdir(before)


def test_importing_launchbay_is_light() -> None:
    check = (
        "import sys, launchbay; launchbay.train; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'rich')))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_run_in_python_is_that_of_the_command_line(superres: launchbay.Run, train: object) -> None:
    last = lines(superres.folder, "val")[-1]
    assert superres.status == "done" and superres.options["steps"] == 2 and superres.options["task"] == "superres"
    assert superres.figures == {name: last[name] for name in superres.figures} and superres.figures["psnr"] > 20
    assert superres.baseline == {name: last[f"baseline/{name}"] for name in superres.figures}
    assert superres.curves()["psnr"]["validation"].values.tolist() == [last["psnr"]]
    assert superres.samples()["samples"].width > 100 and "samples" in superres.samples(2)
    with pytest.raises(UserError, match="no samples of step 7"):
        superres.samples(7)
    options = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert difference(train("superres", *options), superres.folder) == 0  # type: ignore[operator]


def test_each_kind_of_picture_comes_back_as_it_was(superres: launchbay.Run) -> None:
    picture = Image.effect_noise((20, 30), 80).convert("RGB")
    picture.save("a.png")
    made = superres.apply(picture)
    assert isinstance(made, Image.Image) and made.size == (80, 120)
    pixels = np.asarray(made)
    assert np.array_equal(superres.apply("a.png"), pixels)
    assert np.array_equal(superres.apply(np.asarray(picture)), pixels)
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert np.array_equal(superres.apply(values).permute(1, 2, 0), pixels)
    floats = superres.apply(torch.stack([values, values]) / 255)
    assert isinstance(floats, torch.Tensor) and floats.shape == (2, 3, 120, 80) and floats.dtype == torch.float32
    assert (floats[1].permute(1, 2, 0) * 255 - torch.from_numpy(pixels.copy())).abs().max() < 0.51
    assert superres.apply(np.asarray(picture.convert("L"))).shape == (120, 80)
    assert superres.apply(picture.convert("RGBA")).mode == "RGBA"
    deep = superres.apply(np.asarray(picture).astype(np.uint16) * 257)
    assert isinstance(deep, np.ndarray) and deep.dtype == np.uint16 and abs(deep / 257 - pixels).max() < 1
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    picture.save("b.jpg", icc_profile=profile, exif=exif)
    with Image.open("b.jpg") as opened:
        for kept in (superres.apply("b.jpg"), superres.apply(opened)):
            kept.save("c.png", exif=kept.getexif())
            with Image.open("c.png") as saved:
                assert saved.info["icc_profile"] == profile and saved.getexif()[0x010F] == "Camera"
    grey = superres.apply(Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257))
    assert grey.mode == "I;16" and abs(np.asarray(grey) / 257 - superres.apply(picture.convert("L"))).max() < 1
    tiled = superres.apply(Image.effect_noise((300, 200), 80).convert("RGB"), tile=64)
    whole = superres.apply(Image.effect_noise((300, 200), 80).convert("RGB"))
    assert tiled.size == whole.size == (1200, 800)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nowhere.png", "there is no picture nowhere.png"),
        (np.zeros((3, 4, 5), np.uint8), r"an array of uint8 and shape \(3, 4, 5\) is no picture"),
        (torch.full((3, 8, 8), 200.0), "values from 200 to 200 are no picture"),
        (7, "a int is no picture"),
        (torch.zeros(8, 8), r"a tensor of shape \(8, 8\) is no picture"),
    ],
)
def test_what_is_no_picture_says_so(superres: launchbay.Run, image: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        superres.apply(image)


def test_wrong_options_are_errors_to_read() -> None:
    cases: list[tuple[Json, str]] = [
        ({"stepz": 3}, "stepz is not an option of task superres; did you mean 'steps'?"),
        ({"lr": -1}, "lr -1 has to be greater than 0"),
        ({"data": "nothing-here"}, "nothing-here"),
        ({"steps": 3, "epochs": 2}, "both say how long"),
        ({"batch_size": None}, "batch_size None has to be a valid integer"),
    ]
    for options, said in cases:
        with pytest.raises(UserError) as error:
            launchbay.train("superres", **options)
        assert said in str(error.value) and error.value.__notes__ == [f"→ {error.value.hint}"]
        assert error.value._render_traceback_()[-1] == f"→ {error.value.hint}"
    with pytest.raises(UserError, match="there is no task 'superrs'; did you mean 'superres'"):
        launchbay.train("superrs")
    with pytest.raises(UserError, match="5 is no task"):
        launchbay.train(5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is not a run folder"):
        launchbay.load("nowhere")


def test_all_is_left_as_it_was() -> None:
    """Also where a program has an Accelerator of its own, trains in another precision then, and in one that fails."""
    mine = Accelerator(cpu=True, gradient_accumulation_steps=3)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    torch.manual_seed(1)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    for options in ({}, {"precision": "fp64"}, {"precision": "bf16"}):
        run = launchbay.train(Single, steps=2, wandb="off", **options)
        assert run.status == "done" and run.network() is not None
    with pytest.raises(UserError):
        launchbay.train(Single, steps=2, wandb="off", batch_size=3, accumulate=2)
    assert torch.get_default_dtype() == torch.float32 and torch.equal(torch.rand(3), drawn)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert mine.gradient_accumulation_steps == 3 and AcceleratorState().mixed_precision == "no" and PartialState()
    assert not torch.distributed.is_initialized() and signal.set_wakeup_fd(-1) == -1


def interrupt_after(seconds: float, times: int = 1) -> None:
    def interrupt() -> None:
        for _ in range(times):
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()


def test_an_interrupted_training_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    interrupt_after(0.7)
    with pytest.raises(KeyboardInterrupt):
        launchbay.train("toys:Slow", steps=1000, run="it", wandb="off")
    assert "with a checkpoint in runs/it" in (said := capfd.readouterr().out) and "with run='it' continues" in said
    stopped = launchbay.load("it", task="toys:Slow")
    assert stopped.status == "stopped" and stopped._record.summary and 0 < stopped._record.summary.step < 1000
    again = launchbay.train("toys:Slow", steps=1000, run="it", max_time="1s", wandb="off")
    assert again.status == "stopped" and "continues from step" in capfd.readouterr().out


def test_code_in_a_run_folder_is_named_by_the_caller() -> None:
    launchbay.train("toys:Single", steps=1, wandb="off", run="it")
    run = launchbay.load("it")
    run.network()  # this program has named it itself
    in_python.NAMED.clear()
    run = launchbay.load("it")
    assert run.figures and pickle.loads(pickle.dumps(run)).figures == run.figures
    with pytest.raises(UserError, match="names code as its task") as error:
        run.network()
    assert "task='toys:Single')" in error.value.hint
    assert launchbay.load("it", task=Single).network().training is False


def test_options_of_use_are_chosen_anew(superres: launchbay.Run) -> None:
    image = Image.effect_noise((20, 30), 80).convert("RGB")
    better = launchbay.load(superres.folder, tta=True)
    assert not np.array_equal(better.apply(image), superres.apply(image))
    with pytest.raises(UserError, match="width is for training"):
        launchbay.load(superres.folder, width=9)


def test_reading_a_run_of_this_process_leaves_its_lock(tmp_path: Path) -> None:
    """Closing any file of it would give a POSIX lock up."""
    with lock(tmp_path):
        assert owner_lives(tmp_path)
        with pytest.raises(UserError, match="is in use by process"):
            lock(tmp_path)
        other = "from pathlib import Path; from launchbay.launch.record.lock import lock; "
        other += f"lock(Path({str(tmp_path)!r}))"
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
        assert "is in use by process" in done.stderr
    with lock(tmp_path):
        pass


def test_a_run_shows_itself(superres: launchbay.Run) -> None:
    html = superres._repr_html_()
    assert "<td>psnr_y</td>" in html and "bicubic" in html and html.count("data:image/png;base64,") == 2
    assert repr(superres).startswith("<Run superres-1: superres, done, psnr_y")
