"""A run folder may be a stranger's: whatever its files hold, they are data, or damaged; nothing outside is touched."""

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_checkpoint import save, trained
from torch import Tensor, nn
from torch.optim import Optimizer

from launchbay import UserError, printable
from launchbay.launch import errors, files
from launchbay.launch.checkpoint import storage
from launchbay.launch.checkpoint.optimizer_state import describe, restore
from launchbay.launch.record import run_folder
from launchbay.launch.record.lock import lock
from launchbay.models import checkpoints
from launchbay.models.reading import Unfit, check
from launchbay.models.saved import STATE, SavedOptimizer

pytestmark = pytest.mark.fault("strangers' runs")

Train = Callable[..., Path]
Mistake = Callable[..., str]
Verb = Callable[..., tuple[int, str]]
ESCAPE = "\x1b[2J"


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What waits for a FIFO, or reads a device, fails the test."""

    def fail(*_: object) -> None:
        pytest.fail("waits for ever")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(40)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def seal(checkpoint: Path) -> None:
    """Make a checkpoint that was tampered with pass for a whole one."""
    found = {p.name: checkpoints.fingerprint(p) for p in checkpoint.iterdir() if p.name != "manifest.json"}
    (checkpoint / "manifest.json").write_text(json.dumps({"files": found, "seal": checkpoints.seal(found)}))


def put(checkpoint: Path, place: str, value: object) -> None:
    """Give `place`, keys with dots between, of a checkpoint's state.json a `value`; Ellipsis removes it."""
    content = json.loads((checkpoint / "state.json").read_text())
    *outer, last = place.split(".")
    inside = content
    for name in outer:
        inside = inside[name]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    (checkpoint / "state.json").write_text(json.dumps(content))
    seal(checkpoint)


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


STATES: list[tuple[str, object]] = [
    ("step", -1), ("step", 2.0), ("step", True), ("step", "2"), ("step", None), ("step", 10**40), ("step", ...),
    ("format", ...), ("format", [1]), ("progress", ...), ("progress", []), ("progress.step", float("inf")),
    ("progress.step", 3), ("progress.epoch", float("nan")), ("progress.epoch", -1), ("progress.best", [1]),
    ("progress.final", {"psnr": "30"}), ("progress.seconds", {}), ("optimizers", ...), ("optimizers", []),
    ("optimizers.model", None), ("optimizers.model.class", 1), ("optimizers.model.groups", {}),
    ("optimizers.model.groups", [{}]), ("optimizers.model.values", []), ("optimizers", {"../../model": {}}),
    ("optimizers", {f"m{ESCAPE}": {}}), ("config", ...), ("config", []), ("config", {"lr": 1}), ("config.task", 1),
    ("data", ...), ("data", {"training": 1}), ("steps", 0), ("owes_validation", 1), ("world_size", -1),
    ("versions", {"torch": 2}), ("extra_state", []), ("extra_state", {"x": deep(100)}), ("initial", {"x": 1}),
    ("scaler", {"scale": -1.0}), ("initial", {"x": "\ud800"}), ("data", {f"a{ESCAPE}": "b"}),
]  # fmt: skip


def test_a_state_that_is_none_is_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    """However well it is sealed."""
    save(Path("c"), 1)
    last = save(Path("c"), 2)
    whole = (last / "state.json").read_bytes()
    for place, value in STATES:
        (last / "state.json").write_bytes(whole)
        put(last, place, value)
        with pytest.raises(checkpoints.DamagedCheckpoint, match=r"state\.json"):
            pytest.fail(f"taken: {place} = {checkpoints.verify(last)}")
        assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000001", place
    assert ESCAPE not in capsys.readouterr().out


RAW = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1" * 5000,
    b'{"step":1,"step":2}',
    b"null",
    b'{"x":1e400}',
]


@pytest.mark.parametrize("name", ["state.json", "manifest.json"])
def test_no_json_is_damaged(name: str) -> None:
    save(Path("c"), 1)
    where = save(Path("c"), 2)
    for data in RAW:
        (where / name).write_bytes(data)
        if name == "state.json":
            seal(where)
        assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000001", data[:20]


NAMES = ["../state.json", "/etc/passwd", "..", "a\\b", f"a{ESCAPE}", ".hidden", "x" * 300, ""]


def test_a_manifest_names_files_of_its_folder() -> None:
    where = save(Path("c"), 2)
    whole = json.loads((where / "manifest.json").read_text())["files"]
    for name in NAMES:
        listed = {**whole, name: {"bytes": 1, "sha256": ""}}
        (where / "manifest.json").write_text(json.dumps({"files": listed, "seal": checkpoints.seal(listed)}))
        with pytest.raises(checkpoints.DamagedCheckpoint, match=r"manifest\.json has something else"):
            checkpoints.verify(where)


@pytest.mark.parametrize("left_out", ["state.json", "model.safetensors", "optimizers.safetensors", ""])
def test_a_manifest_lists_all_that_is_read(left_out: str) -> None:
    """Without a name: it lists nothing."""
    where = save(Path("c"), 2)
    listed = json.loads((where / "manifest.json").read_text())["files"]
    listed = {name: file for name, file in listed.items() if name != left_out} if left_out else {}
    (where / "manifest.json").write_text(json.dumps({"files": listed, "seal": checkpoints.seal(listed)}))
    with pytest.raises(checkpoints.DamagedCheckpoint, match="does not name"):
        checkpoints.verify(where)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "huge"])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_what_is_no_file_is_not_read(name: str, kind: str) -> None:
    """Nor is one that is larger than it was written: a terabyte would take an hour."""
    save(Path("c"), 1)
    file = save(Path("c"), 2) / name
    kept = file.rename("kept")
    if kind == "huge":
        with file.open("wb") as huge:
            huge.truncate(1 << 40)
    else:
        {"fifo": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to(kept.resolve())}[kind](file)
    assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000001"


def test_what_is_not_ours_is_no_checkpoint_and_stays() -> None:
    odd = ["step-00000001.bak", "step-00000000-notes", "step-1", "step-000000009", "Step-00000001", ".tmp-mine"]
    for name in odd:
        Path("c", name).mkdir(parents=True)
        Path("c", name, "file").touch()
    Path("c/.tmp-0123456789abcdef.txt").symlink_to("step-1")
    for step in (1, 2, 99_999_999, 100_000_000):
        where = save(Path("c"), step, keep=1)
        (where / "notes.txt").write_text("mine") if step == 2 else None
    save(Path("c"), 1_000_000_000, keep=2)
    kept = ["step-00000002", "step-100000000", "step-1000000000"]
    assert [path.name for path in checkpoints.list_checkpoints(Path("c"))] == kept
    assert all(Path("c", name, "file").exists() for name in odd) and Path("c/.tmp-0123456789abcdef.txt").is_symlink()


def test_a_damaged_one_with_files_of_others_is_put_aside(capsys: pytest.CaptureFixture[str]) -> None:
    (save(Path("c"), 1) / "notes.txt").write_text("mine")
    (Path("c/step-00000001") / "state.json").unlink()
    save(Path("c"), 1)
    checkpoints.verify(Path("c/step-00000001"))
    (notes,) = Path("c").glob("other-*/notes.txt")
    assert notes.read_text() == "mine" and notes.parent.name in capsys.readouterr().out


def test_what_killed_processes_left_is_removed() -> None:
    for name in (".tmp-step-00000004-0123456789abcdef", ".tmp-step-00000004", ".tmp-step-00000002-old"):
        Path("c", name).mkdir(parents=True)
        Path("c", name, "model.safetensors").touch()
    Path("c/.tmp-0123456789abcdef.json").touch()
    Path("c/.tmp-step-00000003-ab").mkdir()
    Path("c/.tmp-step-00000003-ab/mine.txt").touch()
    save(Path("c"), 1)
    assert [path.name for path in Path("c").glob(".tmp-*")] == [".tmp-step-00000003-ab"]


def test_a_temporary_file_is_nobody_elses() -> None:
    """It has a name that nobody can know, is made anew, and the result has the mode that the umask gives."""
    Path("victim").write_text("mine")
    Path(".tmp-config.yaml").symlink_to("victim")
    before = os.umask(0o027)
    try:
        with files.replacing(Path("config.yaml")) as temporary:
            assert temporary.suffix == ".yaml" and temporary.is_file() and len(temporary.name) > 20
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert Path("config.yaml").read_text() == "new" and Path("victim").read_text() == "mine"
    assert stat.S_IMODE(Path("config.yaml").stat().st_mode) == 0o640


LINKS = (
    ".lock", "config.yaml", "metrics.jsonl", "summary.json", "curves.png", "wandb_id", "logs", "samples", "wandb",
    "checkpoints", "logs/process-0.log", "samples/step-00000003.png", "checkpoints/last", "checkpoints/step-00000003",
)  # fmt: skip


def test_a_link_in_a_run_folder_is_refused(train: Train, mistake: Mistake) -> None:
    """By name, before anything is written where it leads, or deleted."""
    run = train("Single")
    for name in LINKS:
        link, outside = run / name, Path(f"outside-{Path(name).name}").absolute()
        there = link.exists()
        if there:
            link.rename(outside)
        else:
            outside.mkdir() if name == "wandb" else outside.touch()
        link.symlink_to(outside)
        before = content(outside)
        said = mistake("--task", "toys:Single", "--run", "it", "--steps", 6)
        assert f"runs/it/{name} is a link to" in said
        assert content(outside) == before
        link.unlink()
        if there:
            outside.rename(link)


def content(path: Path) -> dict[str, bytes]:
    found = [path, *path.rglob("*")]
    return {str(file): file.read_bytes() if file.is_file() else b"" for file in found}


@pytest.mark.parametrize(
    "verb", [("evaluate", "runs/it"), ("export", "runs/it"), ("compare", "runs/it", "runs/it"), ("train",)]
)
def test_whoever_reads_a_run_follows_no_link(train: Train, launchbay: Verb, verb: tuple[str, ...]) -> None:
    (train("Single") / "checkpoints").rename("elsewhere")
    Path("runs/it/checkpoints").symlink_to(Path("elsewhere").absolute())
    argv = ("--task", "toys:Single", "--wandb", "off", "--resume", "runs/it") if verb == ("train",) else ()
    code, said = launchbay(*verb, *argv)
    assert code == 2 and "runs/it/checkpoints is a link to" in said


def test_runs_may_lie_elsewhere(train: Train) -> None:
    """A link that leads to a run is its owner's: only those in a run are not followed."""
    Path("disk").mkdir()
    Path("runs").symlink_to("disk")
    train("Single")
    train("Single", "--steps", 6)
    assert Path("disk/it/checkpoints/last").read_text() == "step-00000006"


def test_a_lock_is_not_emptied_through_a_link() -> None:
    Path("run").mkdir()
    Path("victim").write_text("mine")
    Path("run/.lock").symlink_to(Path("victim").absolute())
    with pytest.raises(UserError, match=r"\.lock is a link"):
        lock(Path("run"))
    Path("run/.lock").unlink()
    Path("run/.lock").hardlink_to("victim")
    lock(Path("run")).__exit__()
    assert Path("victim").read_text() == "mine"


def test_a_disk_without_locks_is_told_from_a_lock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl
    from errno import EAGAIN, ENOLCK

    def fail(number: int) -> Callable[..., None]:
        def lockf(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return lockf

    Path("run").mkdir()
    monkeypatch.setattr(fcntl, "lockf", fail(ENOLCK))
    lock(Path("run")).__exit__()
    assert "run is on a disk without locks (No locks available)" in capsys.readouterr().out
    Path("run/.lock").write_text(ESCAPE)
    monkeypatch.setattr(fcntl, "lockf", fail(EAGAIN))
    with pytest.raises(UserError, match="run is in use by another process"):
        lock(Path("run"))


BIASES: dict[str, tuple[Tensor, str]] = {
    "complex": (torch.zeros(4, dtype=torch.complex64), "complex64 numbers"),
    "integers": (torch.zeros(4, dtype=torch.int64), "int64 numbers"),
    "float8": (torch.zeros(4).to(torch.float8_e4m3fn), "float8_e4m3fn numbers"),
    "too large": (torch.full((4,), 1e300, dtype=torch.float64), "too large for float32"),
    "nan": (torch.full((4,), float("nan")), "nan or infinite"),
    "shape": (torch.zeros(5), "does not fit"),
    "dimensions": (torch.zeros((1,) * 40), "40 dimensions"),
}


@pytest.mark.parametrize("kind", BIASES)
def test_weights_are_what_the_network_takes(kind: str) -> None:
    where, (value, expected) = save(Path("c"), 1), BIASES[kind]
    save_file(load_file(where / "model.safetensors") | {"0.bias": value}, where / "model.safetensors")
    seal(where)
    with pytest.raises(UserError, match=expected):
        checkpoints.load_weights(checkpoints.OpenedCheckpoint(where), {"model": trained()[0]})


@pytest.mark.parametrize(
    ("kind", "shape", "size"), [("F32", [0, 2**62, 2**62], 0), ("F4", [2], 1)], ids=["overflow", "packed"]
)
def test_tensors_that_torch_cannot_compute_with_are_damage(kind: str, shape: list[int], size: int) -> None:
    where = save(Path("c"), 1)
    header = json.dumps({"0.bias": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}).encode()
    (where / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    seal(where)
    with pytest.raises(checkpoints.DamagedCheckpoint, match=r"0\.bias has"):
        checkpoints.verify(where)


def test_a_log_that_is_a_pipe_is_not_opened() -> None:
    Path("run/logs").mkdir(parents=True)
    os.mkfifo("run/logs/process-0.log")
    with pytest.raises(UserError, match=r"process-0\.log is no file"):
        run_folder.check_own(Path("run"))


def test_other_floating_point_numbers_are_converted() -> None:
    where = save(Path("c"), 1)
    weights = load_file(where / "model.safetensors")
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        save_file(weights | {"0.bias": torch.full((4,), 2, dtype=dtype)}, where / "model.safetensors")
        seal(where)
        network = trained()[0]
        checkpoints.load_weights(checkpoints.OpenedCheckpoint(where), {"model": network})
        assert torch.equal(network.state_dict()["0.bias"], torch.full((4,), 2.0))


MOMENTS: dict[str, tuple[dict[str, Tensor], str]] = {
    "of one number": ({"exp_avg": torch.zeros(1)}, r"exp_avg is \(1,\) of torch.float32, and has to be \(4,\)"),
    "no number": ({"exp_avg_sq": torch.full((4,), float("inf"))}, "exp_avg_sq has nan or infinite values"),
    "integers": ({"exp_avg": torch.zeros(4, dtype=torch.int64)}, "exp_avg is .*int64"),
    "too large": ({"exp_avg": torch.full((4,), 1e300, dtype=torch.float64)}, "exp_avg has nan or infinite"),
    "counted back": ({"step": torch.tensor(-1.0)}, "step is less than 0"),
    "many steps": ({"step": torch.zeros(4)}, "step is"),
    "something else": ({"evil": torch.zeros(4)}, "has 'evil'"),
}


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("fused", [True, False])
def test_the_state_of_an_optimizer_is_what_it_would_make(kind: str, fused: bool) -> None:
    """torch's own code believes the sizes that it finds, and reads beyond."""
    network = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(network.parameters(), fused=fused)
    network(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    tensors: dict[str, Tensor] = {}
    described = describe({"model": network}, optimizer, "model", tensors)
    state = saved_optimizer(described)
    restore({"model": network}, optimizer, "model", tensors, state)
    changed, expected = MOMENTS[kind]
    tensors |= {f"model.bias.{key}": value for key, value in changed.items()}
    with pytest.raises(UserError, match=f"model.bias.*{expected}"):
        restore({"model": network}, optimizer, "model", tensors, state)


MINIMAL = {"format": 1, "step": 1, "config": {"task": "toy"}, "progress": {"step": 1}, "data": {}}


def test_state_of_part_of_a_parameter_is_refused() -> None:
    where, (network, optimizer) = save(Path("c"), 1), trained()
    task = nn.ModuleDict({"model": network})
    for lost, expected in (("model.0.bias.exp_avg", "lacks 'exp_avg'"), (None, "model.9.bias")):
        tensors = load_file(where / "optimizers.safetensors")
        kept = {name: value for name, value in tensors.items() if name != lost}
        kept |= {} if lost else {"model.9.bias.step": torch.tensor(1.0)}
        save_file(kept, where / "optimizers.safetensors")
        seal(where)
        with pytest.raises(UserError, match=expected):
            storage.load_checkpoint(
                checkpoints.OpenedCheckpoint(where),
                storage.TrainedState(task, {"model": network}, {}, {"model": optimizer}),
            )
        save_file(tensors, where / "optimizers.safetensors")


def test_optimizers_of_others_go_on() -> None:
    """With keys and shapes of their own, numbers that are no tensors, counters in their groups, which may be tensors,
    and one around another; to the same bits.
    """
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    def step(network: nn.Module, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.ones(1, 3, 6, 6)).square().sum().backward()
        optimizer.step()

    for kind in ("adafactor", "adafactorbv", "adan", "lamb", "lion", "rmsproptf", "lookahead_adam"):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
        again = deepcopy(network)
        optimizer, other = (create_optimizer_v2(list(n.parameters()), opt=kind, lr=1e-3) for n in (network, again))
        for _ in range(3):
            step(network, optimizer)
        again.load_state_dict(network.state_dict())
        tensors: dict[str, Tensor] = {}
        described = json.loads(json.dumps(describe({"model": network}, optimizer, "model", tensors)))
        restore({"model": again}, other, "model", tensors, saved_optimizer(described))
        for one in ((network, optimizer), (again, other)) * 4:
            step(*one)
        for mine, theirs in zip(network.parameters(), again.parameters(), strict=True):
            assert torch.equal(mine, theirs), kind


def saved_optimizer(described: dict[str, Any]) -> SavedOptimizer:
    """As it is read from a state.json."""
    return check({**MINIMAL, "optimizers": {"model": described}}, STATE).optimizers["model"]


@pytest.mark.parametrize("extra", ["x" * (17 << 20), deep(80)], ids=["large", "deep"])
def test_what_could_not_be_read_again_is_not_saved(extra: object) -> None:
    content = storage.CheckpointContent({}, "", {**MINIMAL, "optimizers": {}, "extra_state": {"counter": extra}})
    with pytest.raises(UserError, match=r"no run could go on from this checkpoint: its state\.json"):
        storage.save(Path("c"), 1, content, best=False, keep=1)
    assert not list(Path("c").iterdir())


RUBBISH = [b"", b"[1]", b'{"status": 1}', b"\xff", b"[" * 99_999, b'{"status": "done", "status": "done"}']


def test_a_finished_run_says_so_whatever_its_summary(train: Train, capfd: Any) -> None:
    run = train("Single")
    for data in RUBBISH:
        (run / "summary.json").write_bytes(data)
        train("Single")
        assert "this run is finished, after 3 steps" in capfd.readouterr().out
        assert json.loads((run / "summary.json").read_text())["status"] == "done"


def test_damaged_lines_of_the_record_are_counted_aloud(train: Train, capfd: Any) -> None:
    record = train("Single") / "metrics.jsonl"
    lines = record.read_text().splitlines()
    bad = ["[1]", '{"step": -1, "split": "val"}', '{"step": 1e400, "split": "val"}', '{"step": 1, "split": 3}']
    record.write_text("\n".join([lines[0], *bad, *lines[1:], '{"step": 3, "spl']))
    capfd.readouterr()
    train("Single", "--steps", 6)
    assert "damaged, and left out: 4 lines of runs/it/metrics.jsonl; line 2" in capfd.readouterr().out
    assert record.read_text().splitlines()[: len(lines)] == lines


def test_what_is_said_of_a_file_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("été 3×3\nnext") == "été 3×3\nnext"
    assert printable(f"{ESCAPE}\x07\u202e\ud800") == "\\x1b[2J\\x07\\u202e\\ud800"
    assert printable("x" * 50, 10) == "xxxxxxxxxx... (40 more characters)"
    errors.panel(ESCAPE, [f"tensor {ESCAPE}[bold]"], ESCAPE, "red")
    said = capsys.readouterr().err
    assert "\x1b" not in said and said.count("\\x1b[2J") == 3 and "[bold]" in said


def test_names_of_tensors_cannot_clear_the_screen(train: Train, launchbay: Verb) -> None:
    run = train("Single")
    where = checkpoints.newest_checkpoint(run / "checkpoints")
    file = where / "model.safetensors"
    save_file(load_file(file) | {f"{ESCAPE}evil": torch.zeros(1)}, file)
    seal(where)
    for verb in (("evaluate", run), ("export", run), ("compare", run, run)):
        code, said = launchbay(*verb)
        assert code in (0, 2) and "\x1b" not in said, said


def test_all_is_on_disk_before_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut loses nothing that `last` or a checkpoint promises: the record first, names last."""
    Path("run").mkdir()
    Path("run/metrics.jsonl").touch()
    synced: list[str] = []

    def fsync(number: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{number}").readlink().relative_to(Path.cwd())))

    monkeypatch.setattr(os, "fsync", fsync)
    save(Path("run/checkpoints"), 1, best=True)
    assert synced[0] == "run" and synced.index("run/metrics.jsonl") < synced.index("run/checkpoints")
    assert synced[-1] == "run/checkpoints" and synced.count("run/checkpoints") == 3


def test_an_unfit_file_says_why() -> None:
    os.mkfifo("fifo")
    Path("link").symlink_to("fifo")
    for name, expected in (("fifo", "is no regular file"), ("link", "is a link"), ("/dev/zero", "is no regular file")):
        with pytest.raises(Unfit, match=expected):
            checkpoints.open_regular(Path(name))
