"""VAE and GAN: networks as tabled, bounds that hold, judges that see collapse."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import lines
from torch import Tensor
from toys import Digits

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.data.resident import Resident
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.accelerator import create_accelerator
from launchbay.launch.engine.evaluation import evaluate
from launchbay.models.dcgan import Discriminator, Generator
from launchbay.models.entropy import log_density_gradient
from launchbay.tasks import Batch, Datasets, Generative, Losses
from launchbay.tasks.figures.judge import (
    class_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_judge,
    mean_distance,
)
from launchbay.tasks.generative import DRAWS, WithDraws, drawn
from launchbay.tasks.options import JudgeOptions
from launchbay.tasks.vae import VAE, VAEConfig, divergence

Train = Callable[..., Path]
Mistake = Callable[..., str]


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(
    ("channels", "size", "discriminator", "generator"), [(3, 32, 387_201, 7_147_011), (1, 28, 294_113, 5_593_345)]
)
def test_gan_networks_are_the_tabled_ones(
    channels: int, size: int, discriminator: int, generator: int, *, spectral: bool
) -> None:
    judging, drawing = Discriminator(channels, size, 0.3, spectral), Generator(channels, size, 100)
    assert (count(judging), count(drawing)) == (discriminator, generator)
    image = drawing(torch.randn(1, 100))
    assert image.shape == (1, channels, size, size) and image.abs().max() <= 1
    assert judging(image).shape == (1,)


def test_presgan_estimates_the_gradient_of_the_log_density() -> None:
    """For any density p of D dimensions, E[x · ∇ log p(x)] = -D; here p is Gaussian, so each gradient is known too."""
    torch.manual_seed(0)
    matrix, deviation, number = torch.randn(4, 2), 0.2, 20_000
    drawn: Any = lambda latent: (latent @ matrix.T).view(-1, 1, 2, 2)  # noqa: E731
    generator: Any = type("Linear", (), {"__call__": lambda _, z: drawn(z), "deviation": lambda _: torch.tensor(0.2)})()
    latent = torch.randn(number, 2)
    image = drawn(latent) + deviation * torch.randn(number, 1, 2, 2)
    batch: Any = SimpleNamespace(rand=lambda *s: torch.rand(number, *s), randn=lambda *s: torch.randn(number, *s))
    slope = log_density_gradient(generator, image, latent, batch).flatten(1)
    covariance = matrix @ matrix.T + deviation**2 * torch.eye(4)
    exact = -torch.linalg.solve(covariance, image.flatten(1).T).T
    assert (slope * image.flatten(1)).sum(dim=1).mean().item() == pytest.approx(-4, abs=0.25)
    within = torch.corrcoef(torch.stack([(slope * exact).sum(1) / exact.norm(dim=1), exact.norm(dim=1)]))[0, 1]
    assert within > 0.3, "the estimate follows the exact gradient, with the noise of two posterior samples"


def test_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-6)


@pytest.mark.parametrize("loss", ["bernoulli", "mse", "l1"])
def test_unlikelihoods_are_those_of_distributions(loss: Any) -> None:
    task = VAE(VAEConfig(model="dense", loss=loss, channels=1, size=4))
    logits, image = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4).round()
    density: Any = {
        "bernoulli": torch.distributions.Bernoulli(logits=logits),
        "mse": torch.distributions.Normal(logits.sigmoid(), 0.5**0.5),
        "l1": torch.distributions.Laplace(logits.sigmoid(), 1.0),
    }[loss]
    assert torch.allclose(
        task.negative_log_likelihood(logits, image), -density.log_prob(image).flatten(1).sum(1), atol=1e-4
    )


def test_one_code_path_with_and_without_classes() -> None:
    label, image = torch.tensor([1, 0]), torch.rand(2, 1, 8, 8)
    for classes in (0, 3):
        task = VAE(VAEConfig(classes=classes, channels=1, size=8, latent=5, width=4))
        batch = Batch({"image": image, "label": label}, [1, 2])
        assert task.condition(batch).shape == (2, classes)
        assert task.generate(torch.randn(2, 5), task.condition(batch)).shape == image.shape
        assert set(task.gallery({})) == {"generated", "walk"} | ({"classes"} if classes else set())


class Stochastic(Generative[JudgeOptions]):
    """Draws noise beside its latents, and says in the first pixel for which class a picture was asked."""

    latent, classes = 2, 10

    def __init__(self, config: JudgeOptions):
        super().__init__(config)
        self.model = torch.nn.Linear(2, 64)
        self.wide: list[int] = []

    def datasets(self, load: Load) -> Datasets:
        images = Digits("val")
        return images, images if self.config.samples is None else WithDraws(images, self.config.samples)

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"zero": 0 * self.model(batch.randn(2)).sum()}

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        self.wide.append(len(latent))
        noisy = (self.model(latent) + self.randn(64)).sigmoid().view(-1, 1, 8, 8)
        return torch.cat([condition.argmax(1)[:, None, None, None] / 10 + 0 * noisy[..., :1], noisy[..., 1:]], dim=-1)

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        small = drawn(collected, "small_generated")
        in_order = torch.arange(1, small.numel() + 1).double() @ small.double().flatten()
        right = (small[:, 0] * 10).round() == drawn(collected, "wanted").flatten()
        figures = {"samples": len(small), "in_order": float(in_order), "asked_for": float(right.double().mean())}
        return figures | {"different": len(small.unique(dim=0)), "classes": len((small[:, 0] * 10).round().unique())}


@pytest.mark.parametrize("samples", [None, 5, 7, 17])
def test_samples_are_as_many_as_asked_for_and_the_same_in_any_batch(samples: int | None) -> None:
    """Each with noise of its own, of the classes of the pictures that they are spread over; and drawn only once."""
    options, figures = TrainOptions(), []
    for size in (1, 3, 7):
        torch.manual_seed(0)
        task = Stochastic(JudgeOptions(samples=samples)).eval()
        images = task.datasets(lambda split, **how: Digits("val"))[1]
        assert isinstance(images, ImageSet)
        figures.append(evaluate(task, images, create_accelerator(options), size, options)[0].own)
        extra = sum(task.wide) - (samples or 7)
        assert extra == 0 or size == 3, "the last batch of three is filled up"
    count = samples or 7
    assert figures[0]["samples"] == figures[0]["different"] == count and figures[0]["asked_for"] == 1
    assert figures[0]["classes"] == min(count, 7)
    assert figures[1] == pytest.approx(figures[0]) and figures[2] == pytest.approx(figures[0])


def test_galleries_of_a_sampler_that_draws_are_always_the_same() -> None:
    task = Stochastic(JudgeOptions()).eval()
    first, second = task.gallery({}), task.gallery({})
    assert first.keys() == {"generated", "walk", "classes"} and all(first[name].equal(second[name]) for name in first)
    with pytest.raises(UserError, match=r"Stochastic\.generate draws random numbers, but was called without"):
        task.generate(torch.zeros(1, 2), torch.zeros(1, 10))


def test_distances_of_feature_sets() -> None:
    torch.manual_seed(0)
    real, same, shifted = torch.randn(4000, 8), torch.randn(4000, 8), torch.randn(4000, 8) + 1
    assert frechet_distance(real, shifted) == pytest.approx(8, rel=0.1)  # the squared distance of the means
    assert frechet_distance(real, same) < 0.1
    state = torch.get_rng_state()
    assert kernel_distance(real, shifted) > 1 and abs(kernel_distance(real, same)) < 0.1
    assert kernel_distance(real, shifted) == kernel_distance(real, shifted) and torch.equal(
        torch.get_rng_state(), state
    )


def test_collapse_is_seen() -> None:
    real = torch.eye(10).repeat(50, 1)
    collapsed = torch.eye(10)[torch.tensor([3, 7])].repeat(250, 1)
    assert (class_coverage(real, real), class_coverage(collapsed, real)) == (10, 2)
    assert inception_score(real) == pytest.approx(10, rel=1e-4) and inception_score(collapsed) == pytest.approx(2)
    assert mean_distance(collapsed[::2] + 0.0) == 0 and mean_distance(real) > 1


def test_a_classifier_of_our_own_judges(train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole way: train a classifier, then a GAN whose samples it judges, beside real pictures."""
    train("classify", "--steps", 60, "--eval-every", 30).rename("runs/judge")
    metrics = ("--metrics", "fid", "kid", "inception_score", "--judge", "judge", "--samples", 9)
    run = train("dcgan", "--data", "toys:Digits", "--val-data", "toys:Digits", "--steps", 1, *metrics)
    line = lines(run, "val")[0]
    for name in ("fid", "kid", "inception_score", "classes", "certainty", "diversity"):
        assert f"baseline/{name}" in line, name
    assert line["baseline/diversity"] == 1 and line["diversity"] < 0.5
    assert line["fid"] > 5 * line["baseline/fid"] and line["classes"] < line["baseline/classes"]
    assert "is a run of dcgan" in mistake("--task", "dcgan", "--data", "toys:Digits", "--judge", run)
    run.rename("gan")
    run = train(
        "vae", "--data", "toys:Digits", "--model", "dense", "--classes", 10, "--judge", "runs/judge", "--steps", 1
    )
    line = lines(run, "val")[-1]
    assert line["class_accuracy"] < 0.5 < line["baseline/class_accuracy"]
    assert (run / "samples/step-00000001-classes.png").is_file()
    saved = Path("runs/judge/checkpoints")
    (saved / (saved / "best").read_text() / "model.safetensors").write_bytes(b"")
    load_judge("runs/judge")
    assert "damaged checkpoint, taking the one before" in capfd.readouterr().out


def test_few_samples_are_of_all_classes() -> None:
    """Also where classes take turns in the set, in step with how many pictures there are for each sample."""
    images = Resident(torch.zeros(200, 1, 8, 8, dtype=torch.uint8), torch.arange(200) % 10, tuple("0123456789"))
    batch = WithDraws(images, 20).__getitems__(range(200))
    chosen = batch["label"][batch[DRAWS][:, 0] > 0]
    assert len(chosen) == 20 and len(set(chosen.tolist())) > 5
