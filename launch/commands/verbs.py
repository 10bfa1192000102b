"""What the verbs of `launchbay` are, and what each takes."""

import argparse
import shlex
import shutil
from pathlib import Path
from typing import NoReturn

from launchbay import UserError, __version__
from launchbay.launch.commands import new

RUN = "run folder, such as runs/superres-1, or the name of one in runs/"
BEGIN = """Train image models. Tasks are plugins. To begin with:

  launchbay train superres                              train on photographs that come along
  launchbay train superres --data DIR                   on your own
  launchbay evaluate superres-1                         the figures of the run that this made
  launchbay apply superres-1 small.png large.png        use it
  accelerate launch -m launchbay.launch.run superres    train on many processes, GPUs or machines"""
VERBS = {
    "Train": {
        "train": "train in this one process; launchbay train NAME --help has all options",
        "sweep": "a run for each combination of values, and a table",
    },
    "Look at runs": {
        "runs": "the runs of a folder in a table: figures, state, what differs",
        "report": "a page on a run, or on several beside each other, as one HTML file",
        "compare": "the figures of runs, what differs, and where two first part",
        "evaluate": "the figures of a finished run, on its own or on other pictures",
        "sync": "send to W&B, or another tracker, what it lacks of finished runs",
    },
    "Use them": {
        "apply": "use a finished network: on your own pictures, or to draw some",
        "export": "write a run for other tools: weights, a graph, or a folder for the hub",
    },
    "Tasks, data and this machine": {
        "tasks": "list the installed tasks and data sets",
        "new": "write a package of your own: a task that works, its network, test and README",
        "check": "whether a task keeps its contract, for those who write one",
        "pack": "write a data set as a few tars with an index, for very many pictures",
        "doctor": "what would run on this machine, and the command for it",
    },
}
"""All verbs in groups, each with what it does."""
CODE = "what the run was trained {}, if that is not installed: module:Class, seen from this folder"
USES = """A task that makes pictures of pictures writes them to OUT, which is a file, or a folder if there are several.
One that draws pictures takes no IN: OUT is a grid, or a folder for a file each. One that tells pictures apart takes no
OUT, and prints. Also options of its task that this depends on: --tta of superres, denoise or classify. Exit code:
1 if a picture cannot be read; the others are done then."""


class Parser(argparse.ArgumentParser):
    """Its errors are panels, as all others are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"{self.prog} --help shows what it takes")


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line. A verb has a function of its own below, if it takes anything."""
    groups = [
        "\n".join([heading, *(f"    {name:10}{about}" for name, about in verbs.items())])
        for heading, verbs in VERBS.items()
    ]
    parser = Parser(
        prog="launchbay",
        usage="launchbay VERB ...",
        description="\n\n".join([BEGIN, *groups]),
        epilog="launchbay VERB --help shows what it takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"launchbay {__version__}")
    parts = parser.add_subparsers(dest="verb", required=True, metavar="VERB", help=argparse.SUPPRESS, prog="launchbay")
    options = {
        "sweep": add_options_of_sweep, "runs": add_options_of_runs, "report": add_options_of_report,
        "compare": add_options_of_compare, "evaluate": add_options_of_evaluate, "sync": add_options_of_sync,
        "apply": add_options_of_apply, "export": add_options_of_export, "new": add_options_of_new,
        "check": add_options_of_check, "pack": add_options_of_pack, "doctor": add_options_of_doctor,
    }  # fmt: skip
    for name in (name for verbs in VERBS.values() for name in verbs):
        verb = parts.add_parser(name, add_help=name != "train")
        if name in options:
            options[name](verb)
        if name in options and name != "sweep":  # which hands it on to its runs
            verb.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    return parser


def add_options_of_sweep(verb: argparse.ArgumentParser) -> None:
    verb.epilog = (
        "its options as for training; each that has several values is tried with all of them: --seed 0 1 2. With "
        "--trials an option may have a range, too: --lr log:1e-4:1e-2 --weight-decay 0:0.1 --width 16:64."
    )
    verb.add_argument("task", metavar="NAME", help="the task, then its options")
    verb.add_argument("--name", default="", help="of the sweep; the same command goes on with it (default: a new one)")
    tried = "runs whose values optuna chooses, by how well those before did; those that fall behind are stopped early"
    verb.add_argument("--trials", type=positive, metavar="N", help=tried)
    verb.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs at the same time (default: 1)")
    with_what = "what starts each run: 'accelerate launch --num_processes 2' (default: this Python, one process)"
    verb.add_argument("--launcher", type=program, default="", metavar="COMMAND", help=with_what)


def add_options_of_runs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, metavar="DIR", nargs="?", default="runs", help="(default: runs)")
    verb.add_argument("--sort", metavar="FIGURE", default="", help="the best first, such as psnr (default: by time)")
    verb.add_argument("--task", metavar="NAME", default="", help="only the runs of this task")
    form = verb.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        said = f"write {name.upper()}, with all figures and options"
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=said)


def add_options_of_report(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("named", type=Path, metavar="RUN", nargs="+", help=f"{RUN}; or a folder of runs")
    where = "file to write (default: report.html in the folder of the only run, or in this one)"
    verb.add_argument("-o", dest="target", type=Path, metavar="FILE", help=where)
    verb.add_argument("--open", dest="show", action="store_true", help="show it in a browser")


def add_options_of_compare(verb: argparse.ArgumentParser) -> None:
    verb.epilog = "Exit code: of two runs 0 if records and tensors are the same, 1 if not; 2 if one cannot be read."
    verb.add_argument("run", type=Path, metavar="RUN", help=RUN)
    verb.add_argument("others", type=Path, metavar="RUN", nargs="+", help="others")


def add_options_of_evaluate(verb: argparse.ArgumentParser) -> None:
    verb.epilog = (
        "After RUN also those options of its task that training does not depend on, as for training: --metrics of most "
        "tasks, --tta of superres, denoise and classify, --judge and --samples of dcgan and vae."
    )
    verb.add_argument("run", type=Path, metavar="RUN", help=RUN)
    whole = "data sets, all of each, named as for training: a name, a path (default: the run's validation sets)"
    verb.add_argument("--val-data", nargs="+", default=(), metavar="NAME", help=whole)
    roots = "their folder, or one for each; alone, folders or files of pictures"
    verb.add_argument("--val-root", nargs="+", default=(), type=Path, metavar="DIR", help=roots)

    less = "samples at a time: fewer need less memory; no figure depends on it (default: as in training)"
    verb.add_argument("--batch-size", type=positive, metavar="N", help=less)

    skip = "leave out pictures of a folder that cannot be read, and count them"
    verb.add_argument("--skip-damaged", action="store_true", help=skip)
    add_processes(verb, "with the same figures")
    form = verb.add_mutually_exclusive_group()
    for name, shown in (("json", "JSON"), ("csv", "CSV"), ("latex", "a LaTeX table, for a paper")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"write {shown}")
    verb.set_defaults(form="table")
    each = "write the figures of each picture to a file"
    verb.add_argument("--per-picture", type=Path, metavar="FILE.csv", help=each)
    drawn = "draw the worst and the best pictures of each set"
    verb.add_argument("--worst-and-best", type=Path, metavar="FILE.png", help=drawn)
    verb.add_argument("--data", metavar="NAME", help=CODE.format("on"))
    verb.add_argument("--task", metavar="NAME", help=CODE.format("for"))
    verb.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default: best)")


def add_options_of_sync(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("runs", type=Path, metavar="RUN", nargs="+", help=RUN)
    to = "the tracker: wandb, tensorboard, trackio, mlflow, or one that a package brings (default: wandb, online)"
    verb.add_argument("--to", metavar="NAME", default="wandb", help=to)


def add_options_of_apply(verb: argparse.ArgumentParser) -> None:
    verb.epilog = USES
    verb.add_argument("run", type=Path, metavar="RUN", help=RUN)
    several = "pictures, folders of them or patterns; then the file or folder to write, of tasks that make pictures"
    verb.add_argument("paths", nargs="+", metavar="IN… OUT", help=several)
    add_processes(verb, "with the same results")
    group = verb.add_argument_group("tasks that make pictures of pictures (superres, denoise, reconstruct, unmix)")
    tile = "side of the tiles of a large picture, in its pixels (default: by the memory)"
    group.add_argument("--tile", type=positive, metavar="N", help=tile)
    group.add_argument("--suffix", metavar=".png", help="kind of the pictures in a folder (default: as their inputs)")
    quality = "of .jpg, .webp and .avif, 1 to 100 (default: 95)"
    group.add_argument("--quality", type=percentage, metavar="N", help=quality)
    group.add_argument("--strip", action="store_true", default=None, help="leave out EXIF and colour profile")
    there = group.add_mutually_exclusive_group()
    for name, said in (("overwrite", "replace files that are there"), ("skip-existing", "leave them, and go on")):
        value = name.removesuffix("-existing")
        there.add_argument(f"--{name}", dest="existing", action="store_const", const=value, help=said)
    choices = ("fp32", "bf16", "fp16")
    group.add_argument("--precision", choices=choices, help="what layers compute in (default: fp32)")
    group = verb.add_argument_group("tasks that tell pictures apart (classify)")
    group.add_argument("--top", type=positive, metavar="N", help="classes to show of each picture (default: 5)")
    form = group.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"write {name.upper()}")
    group = verb.add_argument_group("tasks that draw pictures (vae, dcgan)")
    group.add_argument("--count", type=positive, metavar="N", help="pictures to draw (default: 16)")
    group.add_argument("--label", metavar="CLASS", help="name or number of the class to draw, of a run with --classes")
    seed = "two: walk from what one seed draws first to what the other does (default: 0)"
    group.add_argument("--seed", nargs="+", type=int, metavar="N", help=seed)
    verb.add_argument("--task", metavar="NAME", help=CODE.format("for"))
    verb.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default: best)")


def add_processes(verb: argparse.ArgumentParser, same: str) -> None:
    said = f"share the work among N processes of this machine, one for each GPU, {same} (default: 1)"
    verb.add_argument("--processes", type=positive, default=1, metavar="N", help=said)


def add_options_of_export(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", type=Path, metavar="RUN", help=RUN)
    where = (
        "file or folder to write, which must not be there: .safetensors is the weights; .onnx and .pt2 are a graph, "
        "checked against the network; a folder, OUT/, has weights, options, pictures and a model card (default: RUN's "
        "name + .safetensors, in this folder)"
    )
    verb.add_argument("target", metavar="OUT", nargs="?", help=where)
    said = "licence that the model card names, such as mit or cc-by-4.0 (default: that none was chosen)"
    verb.add_argument("--license", metavar="ID", help=said)
    hub = "make the repository OWNER/NAME of the Hugging Face hub from the folder (hf auth login)"
    verb.add_argument("--push", metavar="ID", help=hub)
    verb.add_argument("--task", metavar="NAME", help=CODE.format("for"))
    verb.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default: best)")


def add_options_of_new(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="what to call the task, the package and its folder, such as deblur")
    verb.add_argument("--kind", choices=new.TASK_KINDS, default=new.TASK_KINDS[0], help="(default: image-to-image)")
    verb.add_argument("--dataset", action="store_true", help="with a data set of its own, which the task is trained on")


def add_options_of_check(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("task", metavar="NAME", help="an installed task, or module:Class seen from this folder")
    options = "its options and those of all tasks, such as --data-root DIR, as for training; NAME --help lists them"
    verb.add_argument("options", metavar="...", nargs=argparse.REMAINDER, help=options)


def add_options_of_pack(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("data", metavar="DATA", help="what to pack, named as for --data: a folder, a file, a name")
    verb.add_argument("target", type=Path, metavar="OUT", help="the folder to write; train on it with --data OUT")
    verb.add_argument("--data-root", type=Path, metavar="DIR", help="folder of a data set that has a name")
    verb.add_argument(
        "--skip-damaged", action="store_true", help="leave out pictures that cannot be read, and count them"
    )


def add_options_of_doctor(verb: argparse.ArgumentParser) -> None:
    said = "try the way to these machines, of which the first is where they meet, and show the command for each"
    verb.add_argument("--machines", nargs="+", default=(), metavar="HOST", help=said)


def positive(text: str) -> int:
    """Return the number that `text` is, larger than 0."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def program(text: str) -> str:
    """Return the command `text`, whose program is there."""
    words = shlex.split(text)
    if words and not shutil.which(words[0]):
        raise argparse.ArgumentTypeError(f"there is no program {words[0]!r}")
    return text


def percentage(text: str) -> int:
    """Return the number that `text` is, from 1 to 100."""
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100")
    return int(text)
