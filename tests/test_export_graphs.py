"""`launchbay export RUN OUT.onnx` and `.pt2`: graphs that give what `launchbay apply` gives, without launchbay."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import forget_accelerator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle
from toys import Brighten, NoOptions, Single

from launchbay.launch.commands import export_files, export_graph
from launchbay.tasks import Answer, Batch, Classes, Generative, Losses, Pictures

Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]
SMALL = ("--data", "toys:Patches", "--batch-size", 2, "--steps", 1, "--warmup", 0, "--lr", 0.01)
USE = """
import sys
import numpy as np
from PIL import Image
picture = np.asarray(Image.open("picture.png"), np.float32).transpose(2, 0, 1)[None] / 255
if sys.argv[1].endswith(".onnx"):
    import onnxruntime
    (output,) = onnxruntime.InferenceSession(sys.argv[1]).run(["output"], {"image": picture})
else:
    import torch
    output = torch.export.load(sys.argv[1]).module()(torch.from_numpy(picture))["output"].detach().numpy()
assert not [name for name in sys.modules if name.startswith("launchbay")]
Image.fromarray((output[0] * 255).round().astype(np.uint8).transpose(1, 2, 0)).save("used.png")
"""


def graph(file: str) -> bytes:
    """What is in a file."""
    if not zipfile.is_zipfile(file):
        return Path(file).read_bytes()
    with zipfile.ZipFile(file) as opened:
        return b"".join(opened.read(name) for name in opened.namelist())


def test_a_graph_gives_what_apply_gives(train: Train, launchbay: Verb) -> None:
    run = train("superres", *SMALL, "--width", 4, "--blocks", 1, "--patch", 16)
    used = exported(run, launchbay, ".pt2")
    pixels = torch.from_numpy(np.asarray(Image.open("picture.png")).transpose(2, 0, 1).copy())
    output = torch.export.load("it.pt2").module()(pixels[None] / 255)["output"]
    made = (output[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert used.shape == (84, 136, 3) and abs(used - made.astype(np.int16)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".onnx", ".pt2"])
def test_another_program_gives_what_apply_gives(train: Train, launchbay: Verb, kind: str) -> None:
    run = train("superres", *SMALL, "--width", 4, "--blocks", 1, "--patch", 16)
    applied = exported(run, launchbay, kind)
    Path("use.py").write_text(USE)
    subprocess.run([sys.executable, "use.py", f"it{kind}"], check=True)
    used = np.asarray(Image.open("used.png"), np.int16)
    assert used.shape == (84, 136, 3) and abs(used - applied).max() <= 1


def exported(run: Path, launchbay: Verb, kind: str) -> NDArray[np.int16]:
    """Export a run that enlarges four times, and look at what is said and in the file. What apply makes of picture.png,
    which is written."""
    code, said = launchbay("export", run, f"it{kind}")
    assert code == 0 and "image float32 N×3×H×W in [0, 1] -> output; N, H and W are free" in said, said
    assert "1×3×48×64 -> 1×3×192×256; 3×3×53×38 -> 3×3×212×152; 2×3×96×120 -> 2×3×384×480; differs by at most" in said
    content = graph(f"it{kind}")
    assert not [word for word in (str(Path.cwd()), str(Path(__file__).parents[1]), ".py") if word.encode() in content]
    assert b'"width": 4' in content
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)).save("picture.png")
    forget_accelerator()
    assert launchbay("apply", run, "picture.png", "applied.png")[0] == 0
    return np.asarray(Image.open("applied.png"), np.int16)


class OneSize(Single):
    """Takes pictures of one size, and tells them apart."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 5))

    def reply(self, image: Tensor) -> Answer:
        return Classes(self.model(image).softmax(dim=1))


class Divides(Brighten):
    """Takes only sides that divide by 8."""

    def reply(self, image: Tensor) -> Answer:
        return Pictures({"small": pixel_unshuffle(self.model(image), 8)[:, :3]})


@dataclass(frozen=True)
class DrawConfig:
    channels: int = 1
    size: int = 4
    judge: str | None = None


class Draws(Generative[DrawConfig]):
    """Draws random numbers of its own, and pictures of two classes. What judges them is no part of the graph."""

    def __init__(self, config: DrawConfig):
        super().__init__(config)
        self.latent, self.classes = 3, 2
        self.model, self.critic = nn.Linear(3 + 2, 16), nn.Linear(16, 1)

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        flat = self.model(torch.cat([latent, condition], dim=1)) + self.randn(16) + self.rand()[:, None]
        return flat.sigmoid().unflatten(1, (1, 4, 4))

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"loss": self.generate_with(batch, batch.randn(3), self.condition(batch)).mean()}


def write(task: nn.Module, options: object, file: str) -> export_files.Written:
    made = export_graph.graph_of(task.eval().requires_grad_(False), options)  # pyright: ignore
    return export_files.write_graph(made, Path(file), {})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".onnx", ".pt2"])
def test_a_network_of_one_size_is_exported_at_it(kind: str) -> None:
    written = write(OneSize(NoOptions()), NoOptions(), f"it{kind}")
    assert written.sizes.said == "N is free, H = W = 28" and written.refused
    assert list(written.checks) == ["1×3×28×28 -> 1×5", "3×3×28×28 -> 3×5", "5×3×28×28 -> 5×5"]


@pytest.mark.slow
def test_a_network_may_want_sides_that_divide() -> None:
    written = write(Divides(NoOptions()), NoOptions(), "it.pt2")
    assert written.sizes.said == "N, H and W are free, H and W multiples of 32" and written.refused
    assert written.checks[0] == "1×3×64×96 -> 1×3×8×12"


@pytest.mark.slow
def test_random_numbers_are_inputs() -> None:
    import onnxruntime

    task = Draws(DrawConfig())
    assert write(task, task.config, "it.onnx").sizes.said == "N is free"
    session = onnxruntime.InferenceSession("it.onnx")
    assert [one.name for one in session.get_inputs()] == ["latent", "label", "noise_0", "noise_1"]
    latent, label = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    source, keys = {"image": latent}, range(4)
    wanted = task.generate_with(Batch(source, keys), latent, task.wanted(label))
    drawn = Batch(source, keys)
    given = {"latent": latent, "label": label, "noise_0": drawn.randn(16), "noise_1": drawn.rand()}
    (output,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    assert torch.allclose(torch.from_numpy(output), wanted, atol=1e-6)
    assert b"critic" not in graph("it.onnx")
    write(task, task.config, "it.pt2")
    assert len(torch.export.load("it.pt2").state_dict) == 2


def test_a_file_that_gives_something_else_is_not_written(
    train: Train, launchbay: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("Brighten", "--steps", 1)

    def save(*_: object) -> export_files.Run:
        return lambda given: [given[0]]

    monkeypatch.setattr(export_files, "save_pt2", save)
    monkeypatch.setattr(export_files, "trace", lambda *_: None)
    code, said = launchbay("export", run, "it.pt2", "--task", "toys:Brighten")
    assert code == 2 and "cannot be exported as .pt2" in said and "it would differ from the network by" in said, said
    assert not list(Path.cwd().glob("*.pt2"))


def test_what_cannot_be_a_graph_is_refused(train: Train, launchbay: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("Single", "--steps", 1)
    code, said = launchbay("export", run, "it.pt2", "--task", "toys:Single")
    assert code == 2 and "does not say what it makes of a picture" in said
    forget_accelerator()
    monkeypatch.setattr(export_files, "find_spec", lambda name: None)
    code, said = launchbay("export", run, "it.onnx", "--task", "toys:Single")
    assert code == 2 and "pip install 'launchbay[onnx]'" in said and not Path("it.onnx").exists()


BUILT_IN: Sequence[tuple[str, tuple[object, ...], str]] = [
    ("denoise", ("--width", 4, "--blocks", 1, "--patch", 16), "N, H and W are free"),
    ("reconstruct", ("--patch", 16), "N, H and W are free"),
    ("classify", ("--model", "resnet9", "--width", 4), "N is free, H = W = 28"),
    ("vae", ("--classes", 10, "--latent", 3), "N is free"),
    ("dcgan", ("--latent", 3), "N is free"),
    ("classify", ("--model", "airbench", "--width", 1), "N is free, H = W = 28"),
    ("vae", ("--model", "ladder", "--width", 4, "--classes", 10), "N is free"),
    ("dcgan", ("--model", "pyramid", "--width", 4, "--classes", 10), "N is free"),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".onnx", ".pt2"])
@pytest.mark.parametrize(("task", "options", "free"), BUILT_IN)
def test_built_in_tasks(
    train: Train, launchbay: Verb, task: str, options: tuple[object, ...], free: str, *, kind: str
) -> None:
    digits = ("--data", "toys:Digits", *SMALL[2:])
    run = train(task, *(SMALL if "--patch" in options else digits), *options)
    code, said = launchbay("export", run, f"it{kind}")
    assert code == 0 and f"; {free}" in said and "differs by at most" in said, said
    if "--classes" in options or task == "classify":
        assert json.dumps([str(digit) for digit in range(10)]).encode() in graph(f"it{kind}").replace(b'\\"', b'"')
