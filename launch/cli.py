"""The `launchbay` command: what needs no launcher."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from launchbay import UserError, __version__
from launchbay.launch import errors
from launchbay.launch.commands import new
from launchbay.launch.config.data_names import check_names
from launchbay.launch.config.run_options import find_run
from launchbay.launch.terminal import unbreakable

DIFFERENT, NOT_FOUND_OUT = 1, 2
"""Exit codes of `compare`, as cmp and diff have them: the latter also for a bug of ours."""
RUN = "run folder, such as runs/superres-1, or the name of one in runs/"
BEGIN = """Train image models. Tasks are plugins. To begin with:

  launchbay train superres                              train on photographs that come along
  launchbay train superres --data DIR                   on your own
  launchbay evaluate superres-1                         the figures of the run that this made
  launchbay apply superres-1 small.png large.png        use it
  accelerate launch -m launchbay.launch.run superres    train on many processes, GPUs or machines"""
LESS_MEMORY = {
    "evaluate": "lower --batch-size, which changes no figure; or take smaller pictures, or a machine with more memory",
    "apply": "give a smaller --tile; or take a machine with more memory",
    "check": errors.LESS_MEMORY,
}
"""What a command can do whose memory is too small."""


USES = """A task that makes pictures of pictures writes them to OUT, which is a file, or a folder if there are several.
One that draws pictures takes no IN: OUT is a grid, or a folder for a file each. One that tells pictures apart takes no
OUT, and prints. Also options of its task that this depends on: --tta of superres. Exit code: 1 if a picture cannot be
read; the others are done then."""


def main() -> int:
    if sys.argv[1:2] == ["train"]:
        from launchbay.launch.train import main as train

        return train(sys.argv[2:])
    with unbreakable():  # a reader that goes away must not read as compare's "different"
        return obey()


def obey() -> int:
    """Do what the command line says, and return the exit code."""
    try:
        arguments, rest = parser().parse_known_args(sys.argv[1:] or ["--help"])
        if rest and arguments.verb not in ("evaluate", "apply", "sweep"):
            raise UserError(f"unrecognized arguments: {' '.join(rest)}", f"launchbay {arguments.verb} --help shows all")
        return run_verb(arguments, rest)
    except (Exception, KeyboardInterrupt) as error:
        advice = LESS_MEMORY.get(next(iter(sys.argv[1:]), ""), "close what else runs here, or take another machine")
        code = errors.report(errors.out_of_memory(error, advice) or error, debug="--debug" in sys.argv).code
        return NOT_FOUND_OUT if sys.argv[1:2] == ["compare"] and code == DIFFERENT else code


class Parser(argparse.ArgumentParser):
    """Its errors are panels, as all others are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"{self.prog} --help shows what it takes")


def parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="launchbay", usage="launchbay VERB ...", description=BEGIN, formatter_class=shape)
    parser.add_argument("--version", action="version", version=f"launchbay {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog="launchbay")
    verbs.add_parser(
        "train", add_help=False, help="train in this one process; launchbay train NAME --help has all options"
    )
    verbs.add_parser("tasks", help="list the installed tasks and data sets")
    verbs.add_parser("doctor", help="what would run on this machine, and the command for it")

    listed = verbs.add_parser("runs", help="the runs of a folder in a table: figures, state, what differs")
    listed.add_argument("folder", type=Path, metavar="DIR", nargs="?", default="runs", help="(default: runs)")
    listed.add_argument("--sort", metavar="FIGURE", default="", help="the best first, such as psnr (default: by time)")
    listed.add_argument("--task", metavar="NAME", default="", help="only the runs of this task")
    form = listed.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        said = f"write {name.upper()}, with all figures and options"
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=said)

    report = verbs.add_parser("report", help="a page on a run, or on several beside each other, as one HTML file")
    report.add_argument("named", type=Path, metavar="RUN", nargs="+", help=f"{RUN}; or a folder of runs")
    where = "file to write (default: report.html in the folder of the only run, or in this one)"
    report.add_argument("-o", dest="target", type=Path, metavar="FILE", help=where)
    report.add_argument("--open", dest="show", action="store_true", help="show it in a browser")

    several = (
        "its options as for training; each that has several values is tried with all of them: --seed 0 1 2. With "
        "--trials an option may have a range, too: --lr log:1e-4:1e-2 --weight-decay 0:0.1 --width 16:64."
    )
    sweep = verbs.add_parser("sweep", help="a run for each combination of values, and a table", epilog=several)
    sweep.add_argument("task", metavar="NAME", help="the task, then its options")
    sweep.add_argument("--name", default="", help="of the sweep; the same command goes on with it (default: a new one)")
    tried = "runs whose values optuna chooses, by how well those before did; those that fall behind are stopped early"
    sweep.add_argument("--trials", type=positive, metavar="N", help=tried)
    sweep.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs at the same time (default: 1)")
    with_what = "what starts each run: 'accelerate launch --num_processes 2' (default: this Python, one process)"
    sweep.add_argument("--launcher", default="", metavar="COMMAND", help=with_what)

    sync = verbs.add_parser("sync", help="send to W&B, or another tracker, what it lacks of finished runs")
    sync.add_argument("runs", type=Path, metavar="RUN", nargs="+", help=RUN)
    to = "the tracker: wandb, tensorboard, trackio, mlflow, or one that a package brings (default: wandb, online)"
    sync.add_argument("--to", metavar="NAME", default="wandb", help=to)

    runs = add_verbs_of_runs(verbs.add_parser)

    check = verbs.add_parser("check", help="whether a task keeps its contract, for those who write one")
    check.add_argument("task", metavar="NAME", help="an installed task, or module:Class seen from this folder")
    options = "its options and those of all tasks, such as --data-root DIR, as for training; NAME --help lists them"
    check.add_argument("options", metavar="...", nargs=argparse.REMAINDER, help=options)

    pack = verbs.add_parser("pack", help="write a data set as a few tars with an index, for very many pictures")
    pack.add_argument("data", metavar="DATA", help="what to pack, named as for --data: a folder, a file, a name")
    pack.add_argument("target", type=Path, metavar="OUT", help="the folder to write; train on it with --data OUT")
    pack.add_argument("--data-root", type=Path, metavar="DIR", help="folder of a data set that has a name")

    write = verbs.add_parser("new", help="write a package of your own: a task that works, its network, test and README")
    write.add_argument("name", metavar="NAME", help="what to call the task, the package and its folder, such as deblur")
    write.add_argument("--kind", choices=new.TASK_KINDS, default=new.TASK_KINDS[0], help="(default: image-to-image)")
    write.add_argument(
        "--dataset", action="store_true", help="with a data set of its own, which the task is trained on"
    )

    for verb in (*runs, listed, report, sync, check, pack, write):
        verb.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    return parser


def add_verbs_of_runs(add: Callable[..., argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """Add the commands that read runs with `add`, and return them."""
    others = (
        "After RUN also those options of its task that training does not depend on, as for training: --metrics of most "
        "tasks, --tta of superres, --judge and --samples of dcgan and vae."
    )
    evaluate = add("evaluate", help="the figures of a finished run, on its own or on other pictures", epilog=others)
    evaluate.add_argument("run", type=Path, metavar="RUN", help=RUN)
    whole = "data sets, all of each, named as for training: a name, a path (default: the run's validation sets)"
    evaluate.add_argument("--val-data", nargs="+", default=(), metavar="NAME", help=whole)
    roots = "their folder, or one for each; alone, folders or files of pictures"
    evaluate.add_argument("--val-root", nargs="+", default=(), type=Path, metavar="DIR", help=roots)

    less = "samples at a time: fewer need less memory; no figure depends on it (default: as in training)"
    evaluate.add_argument("--batch-size", type=positive, metavar="N", help=less)

    skip = "leave out pictures of a folder that cannot be read, and count them"
    evaluate.add_argument("--skip-damaged", action="store_true", help=skip)
    add_processes(evaluate, "with the same figures")
    form = evaluate.add_mutually_exclusive_group()
    for name, shown in (("json", "JSON"), ("csv", "CSV"), ("latex", "a LaTeX table, for a paper")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"write {shown}")
    evaluate.set_defaults(form="table")
    each = "write the figures of each picture to a file"
    evaluate.add_argument("--per-picture", type=Path, metavar="FILE.csv", help=each)
    drawn = "draw the worst and the best pictures of each set"
    evaluate.add_argument("--worst-and-best", type=Path, metavar="FILE.png", help=drawn)

    apply = add("apply", help="use a finished network: on your own pictures, or to draw some", epilog=USES)
    add_options_of_apply(apply)

    export = add("export", help="write a run for other tools: weights, a graph, or a folder for the hub")
    add_options_of_export(export)

    exit_code = "Exit code: of two runs 0 if records and tensors are the same, 1 if not; 2 if one cannot be read."
    compare = add("compare", help="the figures of runs, what differs, and where two first part", epilog=exit_code)
    compare.add_argument("run", type=Path, metavar="RUN", help=RUN)
    compare.add_argument("others", type=Path, metavar="RUN", nargs="+", help="others")

    code = "what the run was trained {}, if that is not installed: module:Class, seen from this folder"
    evaluate.add_argument("--data", metavar="NAME", help=code.format("on"))
    for verb in (evaluate, apply, export):
        verb.add_argument("--task", metavar="NAME", help=code.format("for"))
    for verb in (evaluate, apply, export):
        verb.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default: best)")
    return [evaluate, apply, export, compare]


def add_options_of_apply(apply: argparse.ArgumentParser) -> None:
    apply.add_argument("run", type=Path, metavar="RUN", help=RUN)
    several = "pictures, folders of them or patterns; then the file or folder to write, of tasks that make pictures"
    apply.add_argument("paths", nargs="+", metavar="IN… OUT", help=several)
    add_processes(apply, "with the same results")
    group = apply.add_argument_group("tasks that make pictures of pictures (superres, denoise, reconstruct, unmix)")
    tile = "side of the tiles of a large picture, in its pixels (default: by the memory)"
    group.add_argument("--tile", type=positive, metavar="N", help=tile)
    group.add_argument("--suffix", metavar=".png", help="kind of the pictures in a folder (default: as their inputs)")
    group.add_argument("--quality", type=positive, metavar="N", help="of .jpg, .webp and .avif, 1 to 100 (default: 95)")
    group.add_argument("--strip", action="store_true", default=None, help="leave out EXIF and colour profile")
    there = group.add_mutually_exclusive_group()
    for name, said in (("overwrite", "replace files that are there"), ("skip-existing", "leave them, and go on")):
        value = name.removesuffix("-existing")
        there.add_argument(f"--{name}", dest="existing", action="store_const", const=value, help=said)
    choices = ("fp32", "bf16", "fp16")
    group.add_argument("--precision", choices=choices, help="what layers compute in (default: fp32)")
    group = apply.add_argument_group("tasks that tell pictures apart (classify)")
    group.add_argument("--top", type=positive, metavar="N", help="classes to show of each picture (default: 5)")
    form = group.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"write {name.upper()}")
    group = apply.add_argument_group("tasks that draw pictures (vae, dcgan)")
    group.add_argument("--count", type=positive, metavar="N", help="pictures to draw (default: 16)")
    group.add_argument("--label", metavar="CLASS", help="name or number of the class to draw, of a run with --classes")
    seed = "two: walk from what one seed draws first to what the other does (default: 0)"
    group.add_argument("--seed", nargs="+", type=int, metavar="N", help=seed)


def add_processes(verb: argparse.ArgumentParser, same: str) -> None:
    said = f"share the work among N processes of this machine, one for each GPU, {same} (default: 1)"
    verb.add_argument("--processes", type=positive, default=1, metavar="N", help=said)


def add_options_of_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("run", type=Path, metavar="RUN", help=RUN)
    where = (
        "file or folder to write, which must not be there: .safetensors is the weights; .onnx and .pt2 are a graph, "
        "checked against the network; a folder, OUT/, has weights, options, pictures and a model card (default: RUN's "
        "name + .safetensors, in this folder)"
    )
    export.add_argument("target", metavar="OUT", nargs="?", help=where)
    said = "licence that the model card names, such as mit or cc-by-4.0 (default: that none was chosen)"
    export.add_argument("--license", metavar="ID", help=said)
    hub = "make the repository OWNER/NAME of the Hugging Face hub from the folder (hf auth login)"
    export.add_argument("--push", metavar="ID", help=hub)


def positive(text: str) -> int:
    """Return the number that `text` is, larger than 0."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def run_verb(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Do what the verb says; `rest` are options of the run's task. Returns the exit code."""
    console = Console()
    if "run" in arguments:
        arguments.run = Path(find_run(str(arguments.run)))
    match arguments.verb:
        case "tasks":
            from launchbay.launch.config.listing import show_plugins

            show_plugins(console)
        case "runs" | "report" | "sweep" | "sync" | "compare":
            return run_verb_of_many(arguments, rest, console)
        case "doctor":
            from launchbay.launch.commands.doctor import examine_machine

            examine_machine(console)
        case "evaluate":
            check_names([*arguments.val_data, *([arguments.data] if arguments.data else [])])
            from launchbay.launch.commands.evaluate import Named, Wanted, evaluate_run
            from launchbay.launch.commands.several import in_processes

            names = ("task", "data", "val_data", "val_root", "batch_size", "skip_damaged")
            named = Named(*(getattr(arguments, name) for name in names))
            wanted = Wanted(arguments.form, arguments.per_picture, arguments.worst_and_best)
            given = arguments.run, arguments.checkpoint, named, console

            def work() -> int:
                evaluate_run(*given, argv=rest, wanted=wanted)
                return errors.DONE

            return in_processes(arguments.processes, sys.argv[1:], console, work)
        case "apply":
            from launchbay.launch.commands.apply import How as HowToApply
            from launchbay.launch.commands.apply import apply_run
            from launchbay.launch.commands.several import in_processes

            how = HowToApply(**{field.name: getattr(arguments, field.name) for field in fields(HowToApply)})
            given = arguments.run, arguments.checkpoint, arguments.paths, how, console

            def use() -> int:
                return errors.DONE if apply_run(*given, name=arguments.task, argv=rest) else DIFFERENT

            return in_processes(arguments.processes, sys.argv[1:], console, use)
        case "export":
            from launchbay.launch.commands.export import How, export_run

            how = How(arguments.checkpoint, arguments.task, arguments.license, arguments.push)
            export_run(arguments.run, arguments.target, how, console)
        case "check":
            from launchbay.launch.check.command import check_named

            check_named(arguments.task, arguments.options, console)
        case "pack":
            check_names([arguments.data])
            from launchbay.launch.commands.pack import pack_data

            pack_data(arguments.data, arguments.data_root, arguments.target, console)
        case "new":
            new.write_package(arguments.name, arguments.kind, console, dataset=arguments.dataset)
    return errors.DONE


def run_verb_of_many(arguments: argparse.Namespace, rest: list[str], console: Console) -> int:
    """Do what a verb says that is about many runs. Returns the exit code."""
    match arguments.verb:
        case "runs":
            from launchbay.launch.commands.runs import show_runs

            chosen = arguments.sort, arguments.task, arguments.form
            return errors.DONE if show_runs(arguments.folder, *chosen, console) else NOT_FOUND_OUT
        case "report":
            from launchbay.launch.commands.report import write_report

            write_report(arguments.named, arguments.target, console, show=arguments.show)
            return errors.DONE
        case "sweep":
            from launchbay.launch.commands.sweep import How, sweep

            chosen = How(arguments.name, arguments.jobs, arguments.launcher, arguments.trials)
            return sweep([arguments.task, *rest], chosen, console)
        case "sync":
            from launchbay.launch.commands.sync import sync_runs

            named = [Path(find_run(str(run))) for run in arguments.runs]
            return errors.DONE if sync_runs(named, arguments.to, console) else DIFFERENT
        case "compare":
            from launchbay.launch.commands.compare import compare

            others = [Path(find_run(str(other))) for other in arguments.others]
            return errors.DONE if compare([arguments.run, *others], console) else DIFFERENT
    raise AssertionError(arguments.verb)
