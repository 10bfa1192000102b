"""launchbay in a notebook: executed by a kernel, as people do."""

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launchbay.launch.record.reader import read_run_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of what talks to kernels
]
SMALL = 'patch=48, width=8, blocks=1, batch_size=4, wandb="off"'
TASK = """
from launchbay.tasks.superres import SuperRes
class Mine(SuperRes):
    "A task of this notebook."
"""


def executed(*cells: str, interrupted: bool = False) -> list[Any]:
    """What is shown below each cell of a notebook. `interrupted`: the kernel is, once training has begun."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=300, allow_errors=True, kernel_name="python3")

    def interrupt() -> None:
        while not Path("runs/it/metrics.jsonl").exists():
            time.sleep(0.1)
        time.sleep(1)
        os.kill(client.km.provisioner.pid, 2)  # type: ignore[union-attr]

    if interrupted:
        threading.Thread(target=interrupt, daemon=True).start()
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def shown(outputs: list[Any]) -> dict[str, str]:
    """The kinds that a cell's last output is shown in."""
    return outputs[-1]["data"]


def test_a_run_shows_itself_in_a_notebook() -> None:
    trained, run, own, again, wrong = executed(
        f'import launchbay\nrun = launchbay.train("superres", steps=6, {SMALL})',
        "run",
        f"{TASK}\nmine = launchbay.train(Mine, steps=2, {SMALL})\nmine",
        "launchbay.load(mine.folder).network()",
        'launchbay.train("superres", stepz=3)',
    )
    bars = [output.data for output in trained if "text/html" in output.get("data", {})]
    assert '<progress max="6" value="6"' in bars[0]["text/html"] and "psnr_y" in bars[0]["text/plain"]
    assert not [output for output in trained if output.get("name") == "stderr"]
    html = shown(run)["text/html"]
    assert "<td>psnr_y</td>" in html and "bicubic" in html and html.count("data:image/png;base64,") == 2
    assert shown(run)["text/plain"].startswith("<Run superres-1: superres, done")
    assert "__main__:Mine" in shown(own)["text/html"] and "SRResNet" in shown(again)["text/plain"]
    assert wrong[-1]["output_type"] == "error" and len(wrong[-1]["traceback"]) == 2
    assert "did you mean 'steps'" in wrong[-1]["traceback"][0]


def test_an_interrupted_cell_goes_on() -> None:
    train = f'import launchbay\nlaunchbay.train("superres", run="it", {SMALL}'
    stopped, after, more = executed(
        f"{train}, steps=100000)", "1 + 1", f'{train}, max_time="1s", steps=100000)', interrupted=True
    )
    assert stopped[-1]["ename"] == "KeyboardInterrupt"
    assert "with run='it' continues" in "".join(output.get("text", "") for output in stopped)
    assert shown(after)["text/plain"] == "2" and "stopped" in shown(more)["text/plain"]
    assert "continues from step" in "".join(output.get("text", "") for output in more)


def test_two_processes_train_from_a_notebook() -> None:
    """Twice, so that what the first leaves is not in the way of the second."""
    train = f'launchbay.train("superres", steps=4, eval_every=4, {SMALL}, run='
    cell = f'def train():\n    import launchbay\n    print({train}"one").status)\n    print({train}"two").status)'
    (outputs,) = executed(
        f"from accelerate import notebook_launcher\n{cell}\nnotebook_launcher(train, num_processes=2)"
    )
    assert not [output for output in outputs if output["output_type"] == "error"], outputs
    text = "".join(output.get("text", "") for output in outputs)
    assert len(re.findall("done", text)) == 4 and "2 processes (cpu" in text
    one, two = (read_run_folder(Path("runs", name)) for name in ("one", "two"))
    assert one.summary and one.summary.world_size == 2 and one.figures() == two.figures()
