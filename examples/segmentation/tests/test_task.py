"""The task keeps launchbay's contract: each check is a test. And its figures are right."""

import pytest
import torch
from launchbay.tasks import Batch
from launchbay.testing import parametrize_with_checks

from segmentation import VOID
from segmentation.task import Segmentation, SegmentationConfig


@parametrize_with_checks([Segmentation])
def test_it_keeps_the_contract(task, check):
    check(task)


def test_figures_are_of_the_whole_set():
    """Two pictures of four pixels; class 2 is nowhere."""
    task = Segmentation(SegmentationConfig(classes=3))
    perfect, mixed = [4, 0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 0, 0]
    figures = task.summarize({"confusion": torch.tensor([perfect, mixed])})
    assert figures["mean_iou"] == pytest.approx((5 / 7 + 1 / 3) / 2)
    assert (figures["pixel_accuracy"], figures["precision"], figures["recall"]) == (6 / 8, 0.5, 0.5)
    assert figures["baseline/mean_iou"] == pytest.approx(6 / 8 / 2)
    assert figures["baseline/recall"] == 0


def test_void_pixels_count_nowhere():
    task = Segmentation(SegmentationConfig(classes=3))
    batch = Batch({"image": torch.rand(2, 3, 8, 8), "mask": torch.full((2, 8, 8), VOID)}, [0, 1])
    assert task.evaluate(batch)["confusion"].sum() == 0
    assert next(task.training_step(batch))[1]["cross_entropy"] == 0
