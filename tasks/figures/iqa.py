"""Metrics of pyiqa by their names, `pyiqa:NAME` (extra `iqa`): 100 and more, with a target or without one."""

import io
import re
import socket
import warnings
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from difflib import get_close_matches
from functools import cache
from typing import NoReturn, Protocol

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.devices import random_state_kept
from launchbay.exact import exact

PREFIX = "pyiqa:"
OF_SETS = ("fid", "sfid", "fid_dinov2", "inception_score")
"""Names of pyiqa that are no figures of single pictures."""
ANNOUNCED = re.compile(r'Downloading: "(?P<address>.+?)" to (?P<file>.+)')
"""What pyiqa and torch print before a download."""


class Metric(Protocol):
    """What pyiqa makes of a name."""

    metric_mode: str
    """FR: it compares with a target. NR: it looks at a picture alone."""

    def __call__(self, picture: Tensor, target: Tensor | None = None) -> Tensor: ...

    def to(self, device: torch.device) -> "Metric": ...


def pyiqa_figure(name: str, output: Tensor, target: Tensor) -> Tensor:
    """Return what the metric `name`, "pyiqa:..." says of each picture: N values. Pictures are N×C×H×W in [0, 1]; grey
    ones are shown to it as colour. One at a time, in float32, with random numbers that are the same for each.

    Raises:
        UserError: the metric cannot be had, or cannot judge such pictures.
    """
    metric = load_pyiqa(name).to(output.device)
    values = []
    for pair in zip(output.split(1), target.split(1), strict=True):
        one, other = (
            picture.detach().float().expand(-1, 3 if picture.shape[1] == 1 else -1, -1, -1) for picture in pair
        )
        try:
            with as_published(output.device):
                value = metric(one, other) if metric.metric_mode == "FR" else metric(one)
            values.append(exact(value.detach()).reshape(()))
        except Exception as error:  # whatever a hundred networks make of a picture that does not suit them
            size = f"{one.shape[-1]}×{one.shape[-2]} pixels"
            said = f"--metrics {name} cannot judge a picture of {size}: {first_line(error)}"
            raise UserError(said, "leave it out, or validate on other pictures") from error
    return torch.stack(values)


@cache
def load_pyiqa(name: str) -> Metric:
    """Return the metric `name`, "pyiqa:...", on the CPU. Nothing is downloaded.

    Raises:
        UserError: pyiqa is not installed, has no metric of that name, or has not its weights.
    """
    short, leave = name.removeprefix(PREFIX), f"or leave {name} out of --metrics"
    output = io.StringIO()
    try:
        with warnings.catch_warnings(), as_published(), redirect_stdout(output), redirect_stderr(output), offline():
            warnings.simplefilter("ignore")
            import pyiqa  # pyright: ignore[reportMissingImports]

            check_name(short, pyiqa.list_models())
            return pyiqa.create_metric(short, device=torch.device("cpu"))
    except UserError:
        raise
    except WeightsMissing as missing:
        announced = ANNOUNCED.search(output.getvalue())
        what = announced["address"] if announced else f"those of {missing.host}"
        put = f"put that file at {announced['file']}, or " if announced else ""
        said = f"--metrics {name} needs weights that are not here: {what}"
        download = f"have pyiqa download it: python -c \"import pyiqa; pyiqa.create_metric('{short}')\""
        raise UserError(said, put + download) from None
    except ImportError as error:
        install = "pip install pyiqa (launchbay's extra iqa)," if error.name == "pyiqa" else "install that,"
        raise UserError(f"--metrics {name}: {first_line(error)}", f"{install} {leave}") from error
    except Exception as error:
        said = f"--metrics {name}: pyiqa cannot build it: {first_line(error)}"
        raise UserError(said, f"pyiqa of another version may, {leave}") from error


def check_name(short: str, known: Iterable[str]) -> None:
    """Check that pyiqa knows a metric called `short` of single pictures.

    Raises:
        UserError: it does not.
    """
    known = [name for name in known if name not in OF_SETS]
    if short not in known:
        near = [PREFIX + name for name in get_close_matches(short, known, 3)] or [f"{PREFIX}ssim", f"{PREFIX}niqe"]
        said = f"pyiqa has no figure of single pictures called {short}"
        raise UserError(said, f"pyiqa.list_models() lists what it has, such as {' or '.join(near)}")


class WeightsMissing(BaseException):
    """A download was begun. No `Exception`, which libraries would take for a network that is down, and try again."""

    def __init__(self, host: str):
        super().__init__(host)
        self.host = host


@contextmanager
def offline() -> Generator[None]:
    """Raise `WeightsMissing` where a host is looked for: pyiqa would download gigabytes at times, on each process."""

    def refuse(host: object, *_: object, **__: object) -> NoReturn:
        raise WeightsMissing(str(host))

    before, socket.getaddrinfo = socket.getaddrinfo, refuse
    try:
        yield
    finally:
        socket.getaddrinfo = before


@contextmanager
def as_published(*devices: torch.device) -> Generator[None]:
    """In float32 and with random numbers of its own: pyiqa sets neither, and some of its networks draw crops."""
    before = torch.get_default_dtype()
    with ExitStack() as kept:
        for device in (torch.device("cpu"), *devices):
            kept.enter_context(random_state_kept(device))
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
