"""What a task's author does wrong is named, with the author's own line, in a run and by `launchbay check`."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from test_contract import failures, in_this_process
from torch import Tensor
from toys import Brighten, Noise, NoOptions, Single

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.launch.config.setup import task_of
from launchbay.tasks import Batch
from launchbay.tasks.authors import AuthorError

Mistake = Callable[..., str]
MODULE = """\
import numpy as np
import torch
from torch import Tensor, nn
from toys import Brighten, Noise, Single


class Mine({base}):
    {body}
"""


@dataclass(frozen=True)
class Case:
    base: str
    body: str
    """What the author adds to it: the first line is the one to name."""
    said: str
    remedy: str

    def __str__(self) -> str:
        return re.sub(r"\\W+", "-", self.said)


def gives(method: str, value: str, said: str, remedy: str, base: str = "Single") -> Case:
    """`method` returns `value`, whatever it is given."""
    return Case(base, f"def {method}(self, *_): return {value}", f"Mine.{method} {said}", remedy)


CASES = [
    gives("evaluate", "None", "returns None", "return a dict such as {'error': error}, a tensor of one value per"),
    gives("evaluate", "{'error': 0.5}", "returns a float as 'error'", "a tensor of one value per sample"),
    gives("evaluate", "{1: _[0].image[:, 0, 0, 0]}", "gives something the name 1, an int", "a name that is a string"),
    gives("evaluate", "{'step': _[0].image}", "gives something the name 'step'", "choose another name"),
    gives("evaluate", "{'error': torch.zeros(3)}", "gives 'error' as (3,) for", "give one value per sample"),
    gives("summarize", "None", "returns None", "{'diversity': float(value)}"),
    gives("summarize", "{1: 0.5}", "gives something the name 1, an int", "a name that is a string"),
    gives("summarize", "{'spread': torch.zeros(2)}", "returns a tensor of (2,) as 'spread'", "float(value)"),
    gives("summarize", "{'error': 0.5}", "gives 'error', as evaluate does", "give one of them another name"),
    gives("preview", "None", "returns None", "a tensor of N×C×H×W; {} for nothing"),
    gives("gallery", "None", "returns None", "a tensor of C×H×W; {} for nothing"),
    gives("gallery", "{'a/b': torch.zeros(3, 8, 8)}", "gives something the name 'a/b'", "choose another name"),
    gives("gallery", "{'samples': torch.zeros(3, 8, 8)}", "gives something the name 'samples'", "choose another name"),
    gives("datasets", "None", "returns None", "return load('train'), load('val')"),
    gives("optimizers", "None", "returns None", "a dict of torch's optimizers by name"),
    *(gives(method, "None", "returns None", "a tensor of N×C×H×W", "Brighten") for method in ("degrade", "target")),
    gives("degrade", "_[0].image[0]", "returns a tensor of (3, 8, 8)", "N×C×H×W", "Brighten"),
    gives("augment", "None", "returns None", "return batch.with_image(picture)", "Brighten"),
    gives("baseline", "_[0][..., ::2]", "gives a tensor of", "let it return the target's shape", "Brighten"),
    Case("Single", "evaluate = {}", "Mine.evaluate cannot be called", "write def evaluate(self, batch)"),
    gives("baseline", "3", "returns an int", "a tensor of N×C×H×W", "Brighten"),
    gives("restore", "(_, _)", "returns a tuple", "a tensor of N×C×H×W", "Brighten"),
    gives("loss", "None", "returns None", "a dict such as {'l1': loss}, a tensor of one value", "Brighten"),
    gives("loss", "{'l1': 0.5}", "returns a float as 'l1'", "a dict such as {'l1': loss}", "Brighten"),
    gives("figures", "{'e': _[0].mean()}", "returns a tensor of () as 'e'", "one value per sample", "Brighten"),
    Case("Brighten", "def loss(self, one, two): return {'l1': one - two}", "has shape (4, 3, 8, 8)", "yield scalars"),
    Case("Single", "datasets = lambda *_: (Noise(0), Noise(1))", "a data set without a sample", "give some to train"),
    Case("Single", "datasets = lambda *_: (Noise(1), {})", "a data set without a sample", "give some to train"),
    Case("Single", "def learning_rate(self, *_): return -0.5", "Mine.learning_rate returns -0.5", "a number from 0 on"),
    Case(
        "Single",
        "def infer_options(self, config, images): return config",
        "Mine.infer_options cannot",
        "@classmethod def",
    ),
    gives("figures", "None", "returns None", "a dict such as {'error': error}", "Brighten"),
    Case("Single", "monitor = None", "Mine.monitor is None", 'monitor = "a name"'),
    Case("Single", "monitor = 1", "Mine.monitor is 1", 'monitor = "a name"'),
    Case("Single", "monitor = 'psnr'", "Mine.monitor is 'psnr', but the figures are error", "the name of one"),
    Case("Brighten", "metrics = ('pnsr',)", "Mine.metrics has 'pnsr'", "psnr, ssim, ms_ssim, mse, mae, lpips"),
    Case("Single", "defaults = {'batchsize': 4}", "did you mean 'batch_size'?", "where they are declared"),
    Case("Single", "defaults = {'batch_size': 0}", "batch_size 0 has to be greater than 0", "a value of that kind"),
    Case(
        "Single",
        "def __init__(self): super().__init__(NoOptions())",
        "Mine.__init__ cannot be",
        "__init__(self, config)",
    ),
    Case(
        "Single", "def evaluate(self): return {}", "Mine.evaluate cannot be called", "write def evaluate(self, batch)"
    ),
    Case(
        "Brighten", "def loss(self, output): return {}", "Mine.loss cannot be called", "def loss(self, output, target)"
    ),
    Case(
        "Brighten",
        "def __init__(self, config): super().__init__(config); self.loss = nn.MSELoss()",
        "Mine.__init__ sets a module 'loss', which its class hides",
        "give it another name",
    ),
]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """One of them, in a module `mine` that can be imported."""
    Path("mine.py").write_text(MODULE.format(base=request.param.base, body=request.param.body), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield request.param
    sys.modules.pop("mine", None)


def line_of(case: Case, shown: str) -> str:
    """The line of mine.py that is named; no other file is."""
    (number,) = re.findall(r"mine\.py:(\d+)", shown)
    assert shown.count(".py:") == 1, shown
    return Path("mine.py").read_text().splitlines()[int(number) - 1].strip()


def test_a_run_names_the_line(mistake: Mistake, case: Case) -> None:
    shown = mistake("--task", "mine:Mine", "--steps", 1)
    said, _, remedy = shown.partition("→ ")
    assert case.said in said and case.remedy in remedy, shown
    assert line_of(case, shown) == case.body


def test_a_check_names_it_too(case: Case) -> None:
    import mine  # pyright: ignore

    (result, *_) = failures(in_this_process(mine.Mine)).values()
    assert case.said in result.happened and case.remedy in result.remedy, str(result)
    assert line_of(case, str(result)) == case.body


def test_methods_by_their_old_names_still_hold() -> None:
    """Those of version 1 of the API: they are named, and do what the new ones do."""
    with pytest.warns(FutureWarning, match=r"Halves\.answer is called restore now; rename it"):

        class Halves(Brighten):
            def answer(self, degraded: Tensor) -> Tensor:
                return degraded / 2

    assert Halves(NoOptions()).restore(torch.ones(1, 3, 8, 8)).mean() == 0.5
    with pytest.warns(FutureWarning, match=r"Wider\.complete is called infer_options now"):

        class Wider(Single):
            @classmethod
            def complete(cls, config: NoOptions, images: ImageSet) -> NoOptions:
                raise UserError("it was asked")

    with pytest.raises(UserError, match="it was asked"):
        Wider.infer_options(NoOptions(), Noise(1))


def test_old_names_can_be_called_too() -> None:
    """As by packages of version 1: on the class they derive from, and where nothing is overridden."""
    with pytest.warns(FutureWarning, match=r"Halves\.answer is called restore now") as warned:

        class Halves(Brighten):
            def answer(self, degraded: Tensor) -> Tensor:
                base: Any = super()
                return base.answer(degraded) * 0 + degraded / 2

    assert warned[0].filename == __file__
    assert "def answer" in Path(__file__).read_text().splitlines()[warned[0].lineno - 1]
    assert Halves(NoOptions()).restore(torch.ones(1, 3, 8, 8)).mean() == 0.5
    plain: Any = Brighten(NoOptions())
    assert plain.answer(torch.ones(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    new: Any = task_of("superres")[0]
    assert new.complete.__func__ is new.infer_options.__func__


class Dims:
    """A mixin that is right."""

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image / 2


class Breaks(Dims):
    """One that is not."""

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image[0]


class Dimmed(Dims, Brighten):
    pass


class Broken(Dimmed, Breaks):
    """Its mixin's method comes next after that of Dimmed."""


class Shared(Brighten):
    @staticmethod
    def loss(output: Tensor, target: Tensor) -> dict[str, Tensor]:  # pyright: ignore
        return {"l1": 0.5}  # pyright: ignore


def test_methods_of_mixins_and_static_ones_are_checked() -> None:
    batch = Batch({"image": torch.ones(2, 3, 8, 8)}, [0, 1])
    assert Dimmed(NoOptions()).degrade(batch).mean() == 0.5
    with pytest.raises(AuthorError, match=r"Broken\.degrade returns a tensor of \(3, 8, 8\), at .*test_authors\.py"):
        Broken(NoOptions()).degrade(batch)
    with pytest.raises(AuthorError, match=r"Shared\.loss returns a float as 'l1', at .*test_authors\.py"):
        Shared(NoOptions()).loss(batch.image, batch.image)


def test_the_contract_kit_by_its_old_name_still_holds() -> None:
    import launchbay.testing

    with pytest.warns(FutureWarning, match=r"launchbay\.tasks\.testing is launchbay\.testing now"):
        from launchbay.tasks.testing import check_task
    assert check_task is launchbay.testing.check_task
