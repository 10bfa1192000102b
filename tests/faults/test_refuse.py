"""What a run will not go on from, and what it says then. Nothing is lost: a refused start changes no file."""

import json
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import lines
from PIL import Image
from safetensors.torch import load_file, save_file

from launchbay.launch.engine.loop import Engine
from launchbay.models import checkpoints

Train = Callable[..., Path]
Mistake = Callable[..., str]
OPTIONS = ("--steps", 6, "--save-every", 2, "--eval-every", 6)
AGAIN = ("--task", "toys:Single", *OPTIONS, "--run", "it")
LAST = Path("runs/it/checkpoints/step-00000006")


@pytest.fixture
def run(train: Train) -> Path:
    """A run that has lost its last steps."""
    folder = train("Single", *OPTIONS, "--keep", 9)
    shutil.rmtree(LAST)
    return folder


def seal(folder: Path) -> None:
    """Make a checkpoint that was tampered with pass for a whole one."""
    files = {p.name: checkpoints.fingerprint(p) for p in folder.iterdir() if p.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "seal": checkpoints.seal(files)}))


def test_it_goes_on_and_ends_the_same(train: Train, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = lines(run)
    train("Single", *OPTIONS)
    assert "continues from step 4" in capfd.readouterr().out
    assert [line["step"] for line in lines(run)] == [line["step"] for line in before]


def test_a_finished_run_says_so(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    run = train("Single", *OPTIONS)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    train("Single", *OPTIONS)
    assert "this run is finished, after 6 steps" in capfd.readouterr().out
    assert {path: path.read_bytes() for path in files} == files
    train("Single", "--steps", 8, "--save-every", 2, "--eval-every", 6)
    assert lines(run)[-1]["step"] == 8


def test_a_run_is_not_shortened_to_less_than_it_has(train: Train, mistake: Mistake, run: Path) -> None:
    before = (run / "config.yaml").read_bytes()
    said = mistake(*AGAIN, "--steps", 3)
    assert "step-00000004 has taken 4 steps, this run is to have 3" in said and "another --run" in said
    assert (run / "config.yaml").read_bytes() == before
    train("Single", *OPTIONS, "--steps", 4)
    assert (lines(run)[-1]["step"], lines(run)[-1]["split"]) == (4, "val")
    assert json.loads((run / "summary.json").read_text())["status"] == "done"


def test_a_run_that_validates_at_its_end_only_is_saved_each_tenth_and_before_that_validation(
    train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    validate = Engine.validate

    def watched(engine: Engine) -> bool:
        engine.saving.finish()
        shutil.copytree(engine.folder, "runs/killed")
        return validate(engine)

    options = ("--steps", 20, "--eval-every", 20, "--keep", 99)
    with monkeypatch.context() as during:
        during.setattr(Engine, "validate", watched)
        whole = train("Single", *options)
    assert [int(path.name[5:]) for path in checkpoints.list_checkpoints(whole / "checkpoints")] == [*range(2, 21, 2)]
    killed = train("Single", *options, "--run", "killed").with_name("killed")
    assert "continues from step 20" in capfd.readouterr().out
    assert lines(killed)[-1]["split"] == "val" and lines(killed, "val") == lines(whole, "val")


def test_other_options_are_refused(mistake: Mistake, run: Path) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    said = mistake(*AGAIN, "--lr", "0.5", "--seed", 1, "--workers", 1)
    assert "--lr was 0.001, is now 0.5" in said and "--seed was 0, is now 1" in said and "workers" not in said
    assert (run / "metrics.jsonl").read_bytes() == before


def test_other_data_are_refused(mistake: Mistake, train: Train) -> None:
    Path("pictures").mkdir()
    for number in range(4):
        write_picture(Path(f"pictures/{number}.png"), number)
    data = ("--data", "folder", "--data-root", "pictures", "--patch", 16, "--width", 4, "--model", "conv4")
    train("denoise", *data, "--steps", 2, "--batch-size", 2)
    write_picture(Path("pictures/3.png"), 99)
    said = mistake("--task", "denoise", *data, "--steps", 3, "--batch-size", 2, "--run", "it")
    assert "the training pictures are not those that runs/it/checkpoints/step-00000002 was trained with" in said


def write_picture(file: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20 + seed, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.mark.parametrize("resume", ["runs/nothing", "runs"])
def test_a_place_without_a_checkpoint_is_refused(mistake: Mistake, resume: str) -> None:
    Path("runs").mkdir()
    said = mistake("--task", "toys:Single", "--resume", resume)
    assert f"{resume}" in said and "give the folder of a run or of a checkpoint" in said


def test_another_run_starts_from_a_checkpoint(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    train("Single", *OPTIONS).rename("runs/first")
    train("Single", *OPTIONS, "--steps", 8, "--resume", "runs/first")
    assert "continues from step 6: runs/first/checkpoints/step-00000006" in capfd.readouterr().out
    assert [line["step"] for line in lines(Path("runs/it"), "train")] == [7, 8]


def test_another_run_may_learn_in_another_way(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    train("Single", *OPTIONS).rename("runs/first")
    train("Single", *OPTIONS, "--steps", 8, "--resume", "runs/first", "--lr", 0.01)
    assert lines(Path("runs/it"), "train")[-1]["lr"] < 0.01
    train("Single", *OPTIONS, "--steps", 9, "--resume", "runs/first", "--lr", 0.01)
    assert "--resume is not used: this run has begun already" in capfd.readouterr().out


def test_another_run_that_would_have_nothing_to_do_is_refused(mistake: Mistake, train: Train) -> None:
    train("Single", *OPTIONS).rename("runs/first")
    said = mistake("--task", "toys:Single", *OPTIONS, "--run", "second", "--resume", "runs/first")
    assert "runs/first/checkpoints/step-00000006 has taken 6 steps, this run is to have 6" in said
    assert [path.name for path in Path("runs").iterdir()] == ["first"]


def test_no_checkpoint_yet_starts_afresh(train: Train, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "checkpoints")
    train("Single", *OPTIONS)
    assert "no checkpoint to continue from: starts at step 0" in capfd.readouterr().out
    assert [line["step"] for line in lines(run, "train")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizers.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    train: Train, run: Path, file: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = run / "checkpoints/step-00000004" / file
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes({"cut": data[:-9], "empty": b"", "longer": data + b"x"}[damage])
    train("Single", *OPTIONS)
    said = capfd.readouterr().out
    assert "damaged checkpoint, taking the one before: runs/it/checkpoints/step-00000004: " in said and file in said
    assert "continues from step 2" in said
    assert lines(run)[-1]["step"] == 6


def test_if_all_are_damaged_it_does_not_start_afresh(mistake: Mistake, run: Path) -> None:
    for file in run.glob("checkpoints/step-*/state.json"):
        file.write_bytes(b"{}")
    assert "no checkpoint in runs/it/checkpoints is intact" in mistake(*AGAIN)


@pytest.mark.parametrize(("name", "tensor"), [("model", "bias"), ("optimizers", "model.bias.exp_avg")])
def test_what_is_no_number_is_not_gone_on_from(
    name: str, tensor: str, train: Train, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """launchbay once saved weights that were nan, and did not note what may be infinite."""
    folder = run / "checkpoints/step-00000004"
    tensors = load_file(folder / f"{name}.safetensors")
    tensors[tensor][0] = float("nan")
    save_file(tensors, folder / f"{name}.safetensors")
    if name == "model":
        state = json.loads((folder / "state.json").read_text())
        assert state.pop("not_finite") == {}
        (folder / "state.json").write_text(json.dumps(state))
    seal(folder)
    train("Single", *OPTIONS)
    said = capfd.readouterr().out
    assert f"{tensor} has nan or infinite values" in said and "continues from step 2" in said


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("owned"),)  # pyright: ignore


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), struct.pack("<Q", 1 << 60) + b"{}"])
@pytest.mark.parametrize("name", ["model", "optimizers"])
def test_a_hostile_file_is_not_believed(
    name: str, content: bytes, train: Train, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A pickle that passes for tensors; a header that claims an exabyte."""
    file = run / f"checkpoints/step-00000004/{name}.safetensors"
    file.write_bytes(content)
    seal(file.parent)
    train("Single", *OPTIONS)
    said = capfd.readouterr().out
    assert f"{name}.safetensors is not a safetensors file" in said and "continues from step 2" in said
    assert not Path("owned").exists()


def test_a_manifest_cannot_name_files_elsewhere(run: Path) -> None:
    folder = run / "checkpoints/step-00000004"
    files = {"../../../../secret": {"bytes": 1, "sha256": ""}}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "seal": checkpoints.seal(files)}))
    with pytest.raises(checkpoints.DamagedCheckpoint, match="secret"):
        checkpoints.verify(folder)


def test_weights_of_another_shape_are_refused(mistake: Mistake, run: Path) -> None:
    file = run / "checkpoints/step-00000004/model.safetensors"
    save_file({"weight": torch.zeros(1), "bias": torch.zeros(3)}, file)
    seal(file.parent)
    assert "does not fit network 'model'" in mistake(*AGAIN)
    save_file({f"layers.{number}.weight": torch.zeros(1) for number in range(100)}, file)
    seal(file.parent)
    said = mistake(*AGAIN)
    assert "layers.0.weight" in said and len(said) < 1000


def test_a_format_of_the_future_is_refused(mistake: Mistake, run: Path) -> None:
    file = run / "checkpoints/step-00000004/state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
    seal(file.parent)
    assert "has format 2, this launchbay reads 1 → use the version that wrote it" in mistake(*AGAIN)


def test_two_runs_do_not_share_a_folder(mistake: Mistake, run: Path) -> None:
    script = "import sys, pathlib, time; from launchbay.launch.record.lock import lock\n"
    script += "held = lock(pathlib.Path('runs/it')); print('locked', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert f"runs/it is in use by process {other.pid}" in mistake(*AGAIN)
        other.kill()
