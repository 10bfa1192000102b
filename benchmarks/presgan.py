"""PresGAN beside the plain GAN over several seeds: does the reward for entropy give more variety? See quality.md.

    python launch/run.py --task classify --data mnist --data-root DATA --epochs 1 --run judge
    python benchmarks/presgan.py DATA --judge runs/judge --steps 300 --size 16 --seeds 5

Both are trained in turns, seed by seed, with the same number of steps. Figures are of the last step, of as many samples
as there are test pictures. The same command goes on where it stopped; the table grows with each seed.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
GANS = {"plain": "none", "PresGAN": "presgan"}
"""What each is called, and its --regularize."""
FIGURES = ("fid", "precision", "recall", "diversity", "classes", "certainty")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder of MNIST")
    parser.add_argument("--judge", type=Path, required=True, help="a run of classify on MNIST")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=16, help="side of the pictures, in pixels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in GANS}
    for seed in range(options.seeds):
        for name, regularize in GANS.items():
            found[name].append(figures_of(options, name, regularize, seed))
        show(found, seed + 1)


def figures_of(options: argparse.Namespace, name: str, regularize: str, seed: int) -> dict[str, float]:
    """Train one GAN, unless it is trained, and return its figures and those of real pictures ("real/fid")."""
    run = f"{name.lower()}-{seed}"
    steps = str(options.steps)
    command = [sys.executable, str(ROOT / "launch/run.py"), "--task", "dcgan", "--data", "mnist"]
    command += ["--data-root", str(options.data), "--size", str(options.size), "--regularize", regularize]
    command += ["--seed", str(seed), "--steps", steps, "--eval-every", steps, "--judge", str(options.judge)]
    command += ["--metrics", "fid", "precision_recall", "--precision", "bf16", "--wandb", "off"]
    subprocess.run([*command, "--run", run, "--output-dir", str(options.runs)], check=True, stdout=sys.stderr)
    summary = json.loads((options.runs / run / "summary.json").read_text(encoding="utf-8"))
    return summary["final"] | {f"real/{figure}": value for figure, value in summary["baseline"].items()}


def show(found: dict[str, list[dict[str, float]]], seeds: int) -> None:
    """Print the mean and the standard deviation of each figure over the seeds."""
    table = Table("figure", *found, "real digits", title=f"{seeds} seeds, mean ± standard deviation")
    for figure in FIGURES:
        each = [spread([one[figure] for one in runs]) for runs in found.values()]
        table.add_row(figure, *each, f"{next(iter(found.values()))[0][f'real/{figure}']:.3f}")
    Console().print(table)


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
