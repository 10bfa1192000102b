"""The pages of docs/ as a machine reads them, and a cheap way to follow one, in this process.

A block with a title is a file (a snippet: one that is there), `bash` is commands, `python` without a title is a script,
and `text` after one of these is what it says. No library does this: sybil, mktestdocs and pytest-markdown-docs run
blocks, but none of them keeps the files of a page in a folder, compares what a page shows, or cuts short what takes
minutes.
"""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from conftest import ROOT, forget_accelerator
from markdown_it import MarkdownIt
from torch.distributed.run import get_args_parser

from launchbay.data import glyphs, photos
from launchbay.launch import cli, train
from launchbay.launch.check import suite
from launchbay.launch.commands import in_python
from launchbay.launch.config.command_line import parse
from launchbay.launch.distributed import accelerator

BINARIES = Path(sys.executable).parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("recipes/*.md")])
CHECKOUT = ("launch", "accelerate_configs")
"""What a page that names one of these needs to lie beside its runs."""
NOT_RUN = {
    "pip install -e . ": "it would change the environment that these tests run in",
    "multi_gpu.yaml": "it needs GPUs",
    "single_gpu.yaml": "it needs a GPU",
    "--num_machines": "it needs two computers",
    "--machines": "it needs two computers",
    "sbatch ": "it needs SLURM",
    "srun ": "it needs SLURM",
    "kubectl ": "it needs Kubernetes",
    "--nnodes": "it needs two computers",
    "DATA": "it needs MNIST, CIFAR-10 or photographs, and minutes: test_reports.py starts it on others",
    "--weights timm/": "it downloads weights",
    "--weights hf-hub:": "it downloads weights",
    "--push": "it needs an account",
    "wandb login": "it needs an account",
    "--wandb online": "it sends a run away",
}
"""Commands with this in them are not run, only parsed."""
NEEDS_PROCESSES = {"launchbay compare runs/one runs/two": "in one process both runs are the same"}
"""Commands that only a shell can follow; in this process they are parsed, and what they say is not looked at."""
CHECKS = ("options_are_declared", "it_can_be_built", "randomness_comes_from_the_batch")
"""Those of the contract that are run where a page is followed cheaply."""
ONE_MORE = {"counting:Counting": "a_checkpoint_holds_everything"}
"""Tasks that are there to fail another one."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Command:
    """One line of a shell and, where the page announces one, its exit code."""

    line: str
    code: int

    def reason_not_to_run(self) -> str | None:
        return next((reason for part, reason in NOT_RUN.items() if part in self.line), None)


Execute = Callable[[Command], tuple[int, str | None]]
"""Runs a command: its exit code and what it says, None if that is not to be looked at."""


def blocks(page: Path) -> list[Block]:
    fences = [token for token in MarkdownIt().parse(page.read_text(encoding="utf-8")) if token.type == "fence"]
    titles = [re.search(r'title="(.*?)"', token.info) for token in fences]
    return [
        Block(token.info.split()[0], title[1] if title else "", token.content)
        for token, title in zip(fences, titles, strict=True)
    ]


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page point."""
    inline = [child for token in MarkdownIt().parse(page.read_text(encoding="utf-8")) for child in token.children or ()]
    return [str(child.attrs.get("href") or child.attrs.get("src")) for child in inline if child.attrs]


def commands(block: Block) -> list[Command]:
    if block.language == "python":
        return [Command(shlex.join(["python", "-c", block.text]), 0)]
    lines = block.text.replace("\\\n", " ").splitlines()
    codes = [re.search(r"# exit code (\d+)", line) for line in lines]
    return [
        Command(line.partition(" # ")[0].strip(), int(code[1]) if code else 0)
        for line, code in zip(lines, codes, strict=True)
        if line.strip() and not line.startswith("#")
    ]


def said(text: str) -> str:
    """`text` in one line, without frames, and without what is another each time and anywhere: figures, time left."""
    text = re.sub(r"  \d+:\d\d:\d\d left", "", re.sub(r"[─-╿]", " ", text))
    text = re.sub(r"-run-[\d_]+-\w{8}\b|\(\w{8}\)", "-run-", text)  # of W&B
    text = re.sub(r"\b(process|thread)(es|s)?\b", r"\1", text)
    return " ".join(re.sub(r"[+-]?\d[\d,.]*(e[+-]?\d+)?", "#", text).split())


def follow(page: Path, execute: Execute, *, is_installed_here: bool = True) -> None:
    """Do what the page in this folder says, block after block, and compare what it shows with what is said. What it
    installs may be in another environment: then commands that are not run are not parsed here.
    """
    output: str | None = ""
    for block in blocks(page):
        if block.title:
            if block.text.startswith("--8<--"):
                assert block.text == f'--8<-- "{block.title}"\n' and Path(block.title).is_file(), block
            elif block.language != "text":
                Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language in ("bash", "python"):
            outputs = [done(command, execute, parse=is_installed_here) for command in commands(block)]
            output = None if None in outputs else "".join(map(str, outputs))
        else:
            assert block.language == "text", f"{page.name}: what is {block.language}?"
            for part in re.split(r"\n|\.\.\.", block.text):
                shown = output is None or said(part) in said(output)
                assert shown, f"{page.name} shows {part!r}, but what comes out is:\n{output}"


def done(command: Command, execute: Execute, *, parse: bool) -> str | None:
    if command.reason_not_to_run():
        if parse:
            understand(command)
        return ""
    code, output = execute(command)
    assert code == command.code, f"{command.line}\nends with {code}, not {command.code}:\n{output}"
    return output


def understand(command: Command) -> None:
    """Parse a command that is not run: those of others by their own parsers, our options by ours."""
    words = shlex.split(command.line)
    if words[0] == "wandb":
        from wandb.cli.cli import cli as wandb

        wandb.commands[words[1]].make_context(words[1], [word for word in words[2:] if word.startswith("-")])
    elif words[:2] == ["accelerate", "launch"] or words[0] == "torchrun":
        understand_training(options_of(words))
    elif "launch/slurm.sbatch" in words:
        place = words.index("launch/slurm.sbatch")
        assert all("=" in word or word == "sbatch" for word in words[:place]) and "sbatch" in words
        understand_training(["--task", *words[place + 1 :]])
    elif words[0] == "srun":
        place = words.index("launchbay")
        assert words[place + 1] == "train" and all("=" in word for word in words[1:place])
        understand_training(["--task", *words[place + 2 :]])
    elif words[0] == "launchbay":
        cli.parser().parse_args(words[1:])
    else:
        assert words[0] in ("pip", "kubectl")
        assert all((ROOT / word).is_file() for word in words if word.endswith((".txt", ".yaml")))


def understand_training(options: list[str]) -> None:
    name, file, rest = train.read_first(options)
    parse(train.task_of(str(name))[1], rest, file, quiet=False)


def options_of(words: list[str]) -> list[str]:
    """What `accelerate launch` or `torchrun` would hand over to our script, after a look at its own flags."""
    if words[0] == "torchrun":
        asked = get_args_parser().parse_args(words[1:])
        assert "--" in words, "torchrun would take --run for --run-path"
    else:
        asked = launch_command_parser().parse_args(words[2:])
    if getattr(asked, "config_file", None):
        load_config_from_file(asked.config_file)
    assert asked.training_script == "launchbay.launch.run" if asked.module else Path(asked.training_script).is_file()
    return asked.training_script_args


class InThisProcess:
    """Follows a page within seconds: training is cut to a few steps of few samples, validation to a few pictures,
    `launchbay check` to the first checks, and pip to writing down what it would find out."""

    def __init__(self, page: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
        lengths = re.findall(r"--steps (\d+)", page.read_text(encoding="utf-8"))
        self.steps = {length: str(number) for number, length in enumerate(sorted(set(lengths), key=int), start=3)}
        self.keeps_wandb = page.stem in ("wandb", "run-folder")
        self.capfd, self.monkeypatch = capfd, monkeypatch
        monkeypatch.setenv("PATH", f"{BINARIES}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
        monkeypatch.setattr(accelerator, "launch_command", lambda: self.launcher)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        self.contract = suite.CONTRACT
        monkeypatch.setattr(glyphs, "COUNT", {"train": 500, "val": 100})
        monkeypatch.setattr(photos, "TILES", 1)
        begin = in_python.train
        cheap = {"steps": 2, "batch_size": 4, "eval_every": 99, "wandb": "off"}
        monkeypatch.setattr(in_python, "train", lambda task, file, options: begin(task, file, {**options, **cheap}))

    def __call__(self, command: Command) -> tuple[int, str | None]:
        self.capfd.readouterr()
        self.forget()
        self.launcher: list[str] = []
        words = shlex.split(command.line)
        if command.line in NEEDS_PROCESSES:
            cli.parser().parse_args(words[1:])
            return command.code, None
        match words:
            case ["accelerate", "launch", *_]:
                self.launcher = [] if "--config_file" in words else words  # ours start what this process is not
                code = min(1, train.main(self.shortened(options_of(words))))  # the launcher has no other codes
            case ["python", "launch/run.py", *options] | ["python", "-m", "launchbay.launch.run", *options]:
                code = train.main(self.shortened(options))
            case ["launchbay", "train", task, *options]:
                code = train.main(self.shortened(["--task", task, *options]))
            case ["launchbay", *options]:
                wanted = {*CHECKS, *(ONE_MORE[name] for name in options if name in ONE_MORE)}
                few = tuple(check for check in self.contract if check.__name__ in wanted)
                self.monkeypatch.setattr(suite, "CONTRACT", few)
                self.monkeypatch.setattr(sys, "argv", words)
                code = cli.main()
            case ["python", "-c", text]:
                code = exec(text, {}) or 0
            case ["python", script]:
                code = int(not runpy.run_path(script))
            case ["pip", "install", "-e", folder]:
                code = self.install(Path(folder).resolve())
            case _:
                code = subprocess.run(command.line, shell=True, check=False).returncode
        return code, "".join(self.capfd.readouterr())

    def forget(self) -> None:
        """What would be new in a new process."""
        forget_accelerator()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(Path.cwd())):
                del sys.modules[name]

    def shortened(self, options: list[str]) -> list[str]:
        if {"--help", "--config"} & set(options):
            return options
        switches = [word for word in options if word in ("--shard", "--recompute")]
        options = [word for word in options if word not in switches]
        said = dict(zip(options[::2], options[1::2], strict=True))
        said["--steps"] = self.steps.get(said.get("--steps", ""), "2")
        said.pop("--epochs", None)
        if "--max-time" in said:
            said["--max-time"] = "0.001s"
        cheap = {"--batch-size": "4", "--eval-every": "99"} | ({} if self.keeps_wandb else {"--wandb": "off"})
        if said.get("--task") == "superres":
            cheap["--patch"] = "24"
        return [*(word for pair in (cheap | said).items() for word in pair), *switches]

    def install(self, package: Path) -> int:
        from setuptools.build_meta import prepare_metadata_for_build_wheel

        (package / "metadata").mkdir()
        with self.monkeypatch.context() as inside:
            inside.chdir(package)
            prepare_metadata_for_build_wheel(str(package / "metadata"))
        sys.path[:0] = [str(package / "src"), str(package / "metadata")]
        return 0
