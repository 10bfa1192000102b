"""The data set keeps launchbay's contract, and a task trains on it."""

import pickle
from pathlib import Path

import pytest
import torch
from launchbay.launch.train import main

from my_plugin.dataset import MyPluginData


@pytest.mark.parametrize("split", ["train", "val", "all"])
def test_samples_are_pictures_with_labels_and_repeat(split: str) -> None:
    images = MyPluginData(split)
    indices = [0, len(images) // 2, len(images) - 1]
    batch = images.__getitems__(indices)
    assert batch["image"].dtype == torch.uint8 and batch["image"].shape[1] in (1, 3)
    assert set(batch["label"].tolist()) <= set(range(len(images.classes)))
    travelled = pickle.loads(pickle.dumps(images)).__getitems__(indices)
    assert all(torch.equal(batch[name], travelled[name]) for name in batch)


def test_no_picture_is_in_both_splits() -> None:
    train, validation = MyPluginData("train"), MyPluginData("val")
    known = {train.image(index).numpy().tobytes() for index in range(len(train))}
    assert not any(validation.image(index).numpy().tobytes() in known for index in range(len(validation)))


def test_a_task_trains_on_it(tmp_path: Path) -> None:
    options = ["--task", "classify", "--data", "my-plugin", "--steps", "2", "--wandb", "off"]
    assert main([*options, "--output-dir", str(tmp_path)]) == 0
