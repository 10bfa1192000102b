"""The state of other people's tasks: a teacher, a queue, a counter; the course of the training; the whole batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from conftest import lines, saved_state
from safetensors.torch import load_file
from stateful_tasks import Critics, Queue
from torch import nn
from toys import Gan, GanConfig, NoOptions

from launchbay import UserError
from launchbay.data import Load
from launchbay.launch.checkpoint import storage
from launchbay.launch.checkpoint.task_state import load_own_state, own_state
from launchbay.launch.checkpoint.writer import Saver
from launchbay.launch.engine import shared_state
from launchbay.launch.engine.optimizers import average, update_average
from launchbay.models import checkpoints
from launchbay.tasks import Batch, Datasets, Losses, follow

Train = Callable[..., Path]
Mistake = Callable[..., str]


def test_a_run_goes_on_with_all_that_its_task_keeps(train: Train) -> None:
    """The teacher, the queue and the counter of a run that went on from its middle end with the same bits."""
    run = train("stateful_tasks:Queue")
    whole = run.rename("whole")
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints/step-00000020")
    train("stateful_tasks:Queue")
    last = [folder / "checkpoints/step-00000020" for folder in (whole, run)]
    for file in sorted(last[0].glob("*.safetensors")):
        assert file.read_bytes() == (last[1] / file.name).read_bytes()
    assert [json.loads((path / "state.json").read_text())["extra_state"] for path in last] == [
        {"_extra_state": {"taken": 20}}
    ] * 2
    kept = load_file(last[1] / storage.TASK)
    assert {"queue", "seen", "teacher.3.weight", "teacher.1.running_mean"} <= kept.keys() and kept["seen"] == 160
    for mine, theirs in zip(lines(whole), lines(run), strict=True):
        assert mine | {"samples_per_s": 0} == theirs | {"samples_per_s": 0}


@pytest.mark.parametrize("name", ["muon", "lamb"])
def test_a_run_goes_on_with_an_optimizer_of_timm(train: Train, name: str) -> None:
    run = train("Single", "--optimizer", name, "--steps", 4, "--eval-every", 2)
    whole = run.rename("whole")
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints/step-00000004")
    train("Single", "--optimizer", name, "--steps", 4, "--eval-every", 2)
    last = [folder / "checkpoints/step-00000004" for folder in (whole, run)]
    for file in sorted(last[0].glob("*.safetensors")):
        assert file.read_bytes() == (last[1] / file.name).read_bytes()
    first = load_file(whole / "checkpoints/step-00000002/model.safetensors")
    assert not torch.equal(first["weight"], load_file(last[0] / "model.safetensors")["weight"])


def test_statistics_may_be_shared_before_a_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator's, between the step of the discriminator and its own, where a teacher follows it."""
    monkeypatch.setattr(shared_state, "reduce", lambda value, *_: value + 1)
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    made = network(torch.rand(4, 3, 8, 8))
    before = network.state_dict()["1.running_mean"].clone()
    shared_state.share_statistics({"generator": network}, Accelerator(cpu=True))
    made.square().sum().backward()
    assert torch.equal(network.state_dict()["1.running_mean"], before + 1)


def test_what_is_frozen_is_written_once(train: Train) -> None:
    """Checkpoints share the file of what training did not change, and it is in evaluation mode all the time."""
    run = train("stateful_tasks:Queue", "--steps", 4, "--eval-every", 2)
    first, second = (run / f"checkpoints/step-0000000{step}" for step in (2, 4))
    assert (first / storage.FROZEN).samefile(second / storage.FROZEN)
    frozen = load_file(first / storage.FROZEN)
    assert set(frozen) == {f"frozen.{name}" for name in Queue(NoOptions()).frozen.state_dict()}
    assert frozen["frozen.0.num_batches_tracked"] == 0 and not frozen["frozen.0.running_mean"].any()


def test_a_damaged_file_is_not_linked_to(tmp_path: Path) -> None:
    task = nn.ModuleDict({"frozen": nn.Linear(2, 2), "model": nn.Linear(2, 2)})
    state = storage.TrainedState(
        task, {"model": task["model"]}, {}, {"model": torch.optim.SGD(task["model"].parameters())}
    )
    saver = Saver(tmp_path, state, keep=3)
    for step in (1, 2, 3):
        saver.save(step, saved_state(step), best=False)
        saver.finish()
        if step == 2:
            with (tmp_path / "step-00000002" / storage.FROZEN).open("r+b") as file:
                file.seek(-1, 2)
                file.write(b"!")
    checkpoints.verify(tmp_path / "step-00000003")
    with pytest.raises(checkpoints.DamagedCheckpoint, match=r"task\.frozen"):
        checkpoints.verify(tmp_path / "step-00000002")


def test_a_copy_has_the_type_that_a_buffer_has_now(tmp_path: Path) -> None:
    task = nn.ModuleDict({"model": nn.Linear(2, 2)})
    task.register_buffer("total", torch.zeros(2))
    optimizer = torch.optim.SGD(task["model"].parameters())
    saver = Saver(tmp_path, storage.TrainedState(task, {"model": task["model"]}, {}, {"model": optimizer}), keep=2)
    for step, total in ((1, torch.ones(2)), (2, torch.full((2,), 1 / 3, dtype=torch.float64))):
        task.total = total
        saver.save(step, saved_state(step), best=False)
        saver.finish()
        assert torch.equal(load_file(tmp_path / f"step-0000000{step}" / storage.TASK)["total"], total)


def test_state_that_does_not_fit_is_named(train: Train, mistake: Mistake) -> None:
    run = train("stateful_tasks:Queue", "--steps", 2)
    where = checkpoints.newest_checkpoint(run / "checkpoints")
    task = Queue(NoOptions())
    del task.queue
    task.register_buffer("bank", torch.zeros(2))
    with pytest.raises(UserError, match=r"step-00000002 lacks bank; it has, and the task has not, queue"):
        storage.load_task(checkpoints.OpenedCheckpoint(where), task, task.networks())


def test_a_buffer_may_grow_and_change_its_type() -> None:
    task = Queue(NoOptions())
    grown = own_state(task, task.networks()) | {"queue": torch.rand(20, 8, dtype=torch.float64)}
    load_own_state(task, task.networks(), grown, "here", strict=True)
    assert task.queue.dtype == torch.float64 and torch.equal(task.queue, torch.as_tensor(grown["queue"]))


def test_a_buffer_that_comes_late_is_named(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first checkpoint, not when the run is to go on."""
    monkeypatch.setattr(Queue, "put", lambda self, keys: self.register_buffer("late", keys))
    said = mistake("--task", "stateful_tasks:Queue", "--steps", 2)
    assert "late is not in the task's state when it is built" in said and "register each buffer in __init__" in said


class Counting(nn.Linear):
    """A network with extra state."""

    calls = 0

    def get_extra_state(self) -> int:
        return self.calls

    def set_extra_state(self, state: int) -> None:
        self.calls = state


def test_an_average_takes_counters_over() -> None:
    network = Counting(2, 2)
    network.register_buffer("count", torch.tensor(0))
    network.register_buffer("first", torch.tensor(True))
    averaged = average(network, 0.9)
    for step in range(3):
        network.get_buffer("count").add_(1)
        network.get_buffer("first").fill_(step == 0)
        network.calls += 1
        update_average(averaged, network)
    assert averaged.module.count == averaged.module.calls == 3 and not averaged.module.first


def test_a_trained_run_is_evaluated_with_all_its_state(
    train: Train, launchbay: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of the teacher, of the queue and of the moment are those of the end of the training; also of what is set
    no earlier than with the data."""
    datasets = Queue.datasets

    def with_mean(self: Queue, load: Load) -> Datasets:
        self.register_buffer("mean", torch.zeros(3))
        return datasets(self, load)

    monkeypatch.setattr(Queue, "datasets", with_mean)
    last = lines(train("stateful_tasks:Queue", "--steps", 7, "--eval-every", 7), "val")[-1]
    code, said = launchbay("evaluate", "runs/it", "--checkpoint", "last", "--task", "stateful_tasks:Queue")
    assert code == 0, said
    for name in ("length", "queue"):
        assert f"{name} {last[name]:.4f}" in " ".join(said.split())


def test_extra_state_has_to_be_json(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "get_extra_state", lambda self: {"taken": {1, 2}})
    said = mistake("--task", "stateful_tasks:Queue", "--steps", 2)
    assert "_extra_state is a dict that JSON cannot hold" in said and "make tensors buffers" in said


def test_a_teacher_follows() -> None:
    student = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    teacher = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
    student(torch.randn(4, 2))
    expected = {k: 0.75 * v + 0.25 * student.state_dict()[k] for k, v in teacher.state_dict().items()}
    follow(teacher, student, 0.75)
    for name, value in teacher.state_dict().items():
        assert torch.allclose(value.double(), expected[name].double()) or name == "1.num_batches_tracked"
    assert teacher[1].num_batches_tracked == 1
    with pytest.raises(UserError, match="other weights than Linear"):
        follow(teacher, nn.Linear(2, 2), 0.75)
    with pytest.raises(UserError, match=r"decay of 1\.5"):
        follow(teacher, student, 1.5)


def test_several_steps_several_networks_and_a_course(train: Train) -> None:
    """Losses of a network that steps twice are means; two networks move with one loss; rates take their own course."""
    run = train("stateful_tasks:Critics")
    first, second = lines(run, "train")[:2]
    assert first["critic/steps"] == 2 and 0.5 < first["critic/error"] < 2
    assert {"there/grad_norm", "back/grad_norm", "there+back/cycle"} <= second.keys()
    assert second["there+back/cycle"] > 0 == first["there+back/cycle"]
    assert [line["critic/lr"] for line in lines(run, "train")] == pytest.approx([1e-3 * (1 - k / 6) for k in range(6)])
    assert [line["taken"] for line in lines(run, "val")] == [3, 6]
    before, after = Critics(NoOptions()).state_dict(), checkpoints.newest_checkpoint(run / "checkpoints")
    for name in ("there", "back"):
        assert not torch.equal(load_file(after / f"{name}.safetensors")["weight"], before[f"{name}.weight"])


def test_a_batch_is_split_into_parts_that_keep_their_numbers() -> None:
    image = torch.arange(6.0).view(6, 1, 1, 1)
    whole, parted = Batch({"image": image}, range(6)), Batch({"image": image}, range(6))
    parts = parted.split(3)
    assert [part.image.flatten().tolist() for part in parts] == [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(parts[0].rand(), whole.rand()[::3])
    assert torch.equal(parts[1].randn(2), whole.randn(2)[1::3]), "random numbers go on from part to part"
    with pytest.raises(UserError, match="6 samples of a process do not divide into 4"):
        parted.split(4)
    with pytest.raises(UserError, match="do not divide into 0 equal parts"):
        parted.split(0)


def test_only_rows_of_samples_are_gathered() -> None:
    """On one process too, where anything else would be taken and be another thing than on two."""
    batch = Batch({"image": torch.zeros(4, 1, 1, 1)}, range(4))
    assert len(batch.gather(torch.zeros(4, 2))) == 4
    for wrong in (torch.zeros(3, 2), torch.zeros(8), torch.zeros(())):
        with pytest.raises(UserError, match="not one row for each of 4 samples"):
            batch.gather(wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--accumulate", 2), "which --accumulate splits into parts"),
        (("--steps", 1), ""),
    ],
)
def test_the_whole_batch_is_refused_where_there_is_none(
    options: tuple[object, ...], said: str, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stateful_tasks import Contrast

    if not said:
        monkeypatch.setattr(Contrast, "evaluate", lambda self, batch: {"all": batch.gather(batch.rand())})
        said = "batch.gather is for training_step"
    assert said in mistake("--task", "stateful_tasks:Contrast", *options)


def test_parts_of_a_batch_learn_what_it_does_or_are_refused(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --accumulate a counter would count each part, and two steps would add up their gradients."""
    asked = ("--task", "stateful_tasks:Queue", "--accumulate", 2)
    monkeypatch.setattr(Queue, "gather", lambda self, batch, keys: keys)
    assert "--accumulate: training_step changes" in mistake(*asked)
    steps = Queue.training_step

    def twice(self: Queue, batch: Batch) -> Losses:
        for part in batch.split(2):
            yield from steps(self, part)

    monkeypatch.setattr(Queue, "training_step", twice)
    assert "--accumulate: training_step takes several steps" in mistake(*asked)


def test_learning_rates_scale_by_layer(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def optimizers(self: Gan, create: Callable[..., torch.optim.Optimizer]) -> dict[str, torch.optim.Optimizer]:
        groups = [{"params": self.generator[0].weight, "lr_scale": 0.5}, {"params": self.generator[0].bias}]
        return {"generator": create(groups), "discriminator": create(self.discriminator.parameters())}

    monkeypatch.setattr(Gan, "optimizers", optimizers)
    run = train("Gan", "--lr", 0.01, "--steps", 2, "--warmup", 2)
    assert [line["generator/lr"] for line in lines(run, "train")] == [0.005, 0.01]
    state = json.loads((checkpoints.newest_checkpoint(run / "checkpoints") / "state.json").read_text())
    assert [group["lr"] for group in state["optimizers"]["generator"]["groups"]] == [0.005, 0.01]
    assert GanConfig()


def test_weights_say_that_a_teacher_has_none(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    train("stateful_tasks:Queue", "--steps", 2).rename("earlier")
    train("stateful_tasks:Queue", "--steps", 2, "--weights", "earlier")
    assert "frozen, and left as the task makes it: teacher, frozen" in capfd.readouterr().out
    shutil.rmtree("runs")
    train("stateful_tasks:Queue", "--steps", 2, "--weights", "teacher=earlier")
    assert "weights of teacher: 9 tensors" in (said := capfd.readouterr().out)
    assert "its 'student', the only network there" in said
