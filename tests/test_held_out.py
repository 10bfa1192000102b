"""--hold-out: pictures that are not trained on choose the best checkpoint, and others are reported."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from conftest import lines
from toys import Digits

from launchbay.data import ImageSet
from launchbay.data.held_out import split

Train = Callable[..., Path]
Launchbay = Callable[..., tuple[int, str]]


def test_the_parts_are_the_training_pictures_without_the_others() -> None:
    without, held = split(Digits, 0.25)
    whole, training, chosen = Digits("train"), without("train"), held("all")

    def all_of(images: ImageSet) -> list[bytes]:
        return [images.image(index).numpy().tobytes() for index in range(len(images))]

    assert [len(training), len(chosen)] == [len(whole) * 3 // 4, len(whole) // 4]
    assert sorted(all_of(training) + all_of(chosen)) == sorted(all_of(whole))
    batch = chosen.__getitems__([2, 0])
    assert torch.equal(batch["image"], torch.stack([chosen.image(2), chosen.image(0)]))
    assert batch["label"].tolist() == [chosen.label(2), chosen.label(0)]
    assert len(without("val")) == len(Digits("val")), "what is reported is all of the validation pictures"


def test_what_is_held_out_chooses(train: Train, launchbay: Launchbay) -> None:
    run = train("classify", "--data", "toys:Digits", "--hold-out", 0.25, "--steps", 4, "--eval-every", 2)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best_by"] == "held-out/accuracy" and "toys:Digits/accuracy" in summary["final"]
    validations = lines(run, "val")
    best = max(validations, key=lambda line: (line["held-out/accuracy"], line["step"]))
    assert summary["best"]["step"] == best["step"]
    code, said = launchbay("evaluate", run, "--data", "toys:Digits")
    assert code == 0 and "held-out/accuracy" in said and "flatter" not in said
