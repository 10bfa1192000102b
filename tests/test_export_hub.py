"""`launchbay export RUN OUT/` and `--push`: a folder for the Hugging Face hub, and a repository made from it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import forget_accelerator
from huggingface_hub import ModelCard, constants
from PIL import Image
from safetensors.torch import load_file
from stand_in_hub import TOKEN, Hub, stand_in

from launchbay.launch.commands.evaluate import chosen_on
from launchbay.launch.record.reader import read_run_folder

Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]
SMALL = ("--data", "toys:Patches", "--batch-size", 2, "--steps", 2, "--warmup", 0, "--lr", 0.01, "--patch", 16)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with stand_in() as hub:
        # In this process HF_ENDPOINT has been read.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_a_folder_describes_the_run_and_can_be_used(train: Train, launchbay: Verb) -> None:
    Path("my pictures").mkdir()
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number, 9, 9)).save(f"my pictures/{number}.png")
    run = train(
        "superres", "--data", "my pictures", *SMALL[2:], "--scale", 2, "--width", 4, "--blocks", 1, "--hold-out", 0.2
    )
    code, said = launchbay("export", run, "my-model/", "--license", "mit")
    assert code == 0 and "my-model/: README.md, config.yaml, model.safetensors, samples" in said, said

    card = ModelCard.load("my-model/README.md")
    about: Any = card.data
    assert (about.license, about.library_name, about.pipeline_tag) == ("mit", "launchbay", "image-to-image")
    assert about.datasets is None and {"superres", "super-resolution"} <= set(about.tags or ())
    results = {each.metric_name: each for each in about.eval_results or ()}
    figures = read_run_folder(run).figures("best")
    own, baseline = (values["my pictures/psnr_y"] for values in (figures.own, figures.baseline))
    assert results["own pictures/psnr_y"].metric_value == own
    assert results["own pictures/psnr_y"].dataset_name == "own pictures"
    assert results["own pictures/psnr_y, bicubic"].metric_value == baseline
    assert f"| own pictures/psnr_y | {own:.4f} | {baseline:.4f} |" in card.text
    assert f"Note: {chosen_on('held-out')}." in card.text
    assert (
        "launchbay train superres --data DIR --hold-out 0.2 --steps 2 --batch-size 2 --lr 0.01 --warmup 0" in card.text
    )
    drawn = ["samples/held-out-samples.png", "samples/own-pictures-samples.png"]
    assert re.findall(r"!\[[\w-]+\]\((.+)\)", card.text) == drawn
    with Image.open(f"my-model/{drawn[0]}") as picture:
        assert picture.size[0] > 10

    options = yaml.safe_load(Path("my-model/config.yaml").read_text())
    assert options["task"] == "superres" and options["data"] == "folder" and "output_dir" not in options
    content = b"".join(path.read_bytes() for path in Path("my-model").rglob("*") if path.is_file())
    assert not [word for word in ("my pictures", "runs", str(Path.cwd())) if word.encode() in content]

    forget_accelerator()
    monkey = Path.cwd()
    os.chdir("my-model")
    try:
        names: dict[str, object] = {}
        (block,) = re.findall(r"```python\n(.+?)```", card.text, re.DOTALL)
        exec(block, names)
    finally:
        os.chdir(monkey)
    assert names["answer"][""].shape == (1, 3, 32, 32)  # pyright: ignore
    forget_accelerator()
    given = ("--config", "my-model/config.yaml", "--weights", "my-model/model.safetensors", "--data", "toys:Patches")
    assert train("superres", *given, "--run", "again", "--hold-out", 0)


@pytest.mark.parametrize(
    ("task", "options", "pipeline"),
    [
        ("classify", ("--model", "cnn"), "image-classification"),
        ("dcgan", ("--latent", 3), "unconditional-image-generation"),
    ],
)
@pytest.mark.slow
def test_cards_of_other_tasks(
    train: Train, launchbay: Verb, task: str, options: tuple[object, ...], pipeline: str
) -> None:
    run = train(task, "--data", "glyphs", "--batch-size", 2, "--steps", 1, "--warmup", 0, *options)
    assert launchbay("export", run, "model/")[0] == 0
    card = ModelCard.load("model/README.md")
    about: Any = card.data
    assert about.pipeline_tag == pipeline and about.license == "unknown" and about.datasets == ["glyphs"]
    (block,) = re.findall(r"```python\n(.+?)```", card.text, re.DOTALL)
    subprocess.run([sys.executable, "-c", block], cwd="model", check=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a library that the hub's uses
def test_a_folder_is_pushed(train: Train, launchbay: Verb, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("Brighten", "--steps", 1)
    code, said = launchbay("export", run, "model/", "--task", "toys:Brighten", "--push", "me/brighten")
    assert code == 0 and f"pushed to {hub.url}/me/brighten" in said, said
    files = hub.repositories["me/brighten"]
    written = {path.relative_to("model").as_posix(): path.read_bytes() for path in Path("model").rglob("*.*")}
    assert {name: files[name] for name in written} == written and files["model.safetensors"] in hub.large.values()
    assert f"Note: {chosen_on('')}." in files["README.md"].decode()
    Path("back.safetensors").write_bytes(files["model.safetensors"])
    assert load_file("back.safetensors").keys() == {"weight", "bias"}

    forget_accelerator()
    again = ("export", run, "other/", "--task", "toys:Brighten", "--push")
    code, said = launchbay(*again, "me/brighten")
    assert code == 2 and "there is a repository of that name already" in said and not Path("other").exists()
    for name, expected in (("brighten", "no OWNER/NAME"), ("a b/c", "no name of a repository")):
        code, said = launchbay(*again, name)
        assert code == 2 and expected in said and not Path("other").exists(), said

    monkeypatch.setenv("HF_TOKEN", "hf_other")
    forget_accelerator()
    code, said = launchbay(*again, "me/other")
    assert code == 2 and "your token may not do that" in said and "Invalid credentials" in said, said
    assert Path("other/README.md").exists() and "other is written" in said
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, said = launchbay("export", run, "third/", "--task", "toys:Brighten", "--push", "me/third")
    assert code == 2 and "there is no token" in said and "hf auth login" in said and not Path("third").exists()


def test_without_a_network(train: Train, launchbay: Verb, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, said = launchbay("export", train("Brighten", "--steps", 1), "model/", "--push", "me/brighten")
    assert code == 2 and "http://127.0.0.1:9" in said and "nothing was written" in said and not Path("model").exists()


@pytest.mark.slow
def test_a_command_pushes_to_the_hub_that_the_environment_names(train: Train, hub: Hub) -> None:
    """As people run it: HF_ENDPOINT, and no library of this process."""
    run = train("superres", *SMALL, "--width", 4, "--blocks", 1)
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    program = Path(sys.executable).with_name("launchbay")
    command = [program, "export", run, "model/", "--push", "me/two"]
    subprocess.run(command, check=True, env={**environment, "PYTHONPATH": str(Path(__file__).parent)})
    assert {"README.md", "config.yaml", "model.safetensors"} <= hub.repositories["me/two"].keys()


def test_a_folder_that_is_there_is_left_alone(train: Train, launchbay: Verb) -> None:
    Path("full").mkdir()
    Path("full/mine").touch()
    code, said = launchbay("export", "runs/none", "full/")
    assert code == 2 and "full exists already" in said
    run = train("Brighten", "--steps", 1)
    Path("empty").mkdir()
    assert launchbay("export", run, "empty", "--task", "toys:Brighten")[0] == 0
    assert Path("empty/README.md").exists() and not list(Path.cwd().glob(".tmp-*"))
