"""VAE and GAN: networks as tabled, bounds that hold, judges that see collapse."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lines
from scipy.stats import entropy
from torch import Tensor
from torch.nn.functional import batch_norm, one_hot
from toys import Digits

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.data.resident import Resident
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.accelerator import create_accelerator
from launchbay.launch.engine.evaluation import evaluate
from launchbay.models import inception
from launchbay.models.dcgan import Discriminator, Generator, Modulation, PyramidDiscriminator, PyramidGenerator
from launchbay.models.entropy import LatentSampler
from launchbay.tasks import Batch, Datasets, Generative, Losses, Moment
from launchbay.tasks.dcgan import DCGAN, DCGANConfig, differentiable_augment
from launchbay.tasks.figures.judge import (
    Judge,
    class_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_judge,
    mean_distance,
    precision_and_recall,
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
    assert judging(image, torch.zeros(1, 0)).shape == (1,)


class LinearGenerator(torch.nn.Module):
    """Draws x = weight·z + noise, whose entropy is known: log det(weight·weight' + deviation²) / 2, and a constant."""

    def __init__(self, weight: Tensor, deviation: float):
        super().__init__()
        self.weight, self.noise = weight, torch.tensor(deviation)

    def forward(self, latent: Tensor) -> Tensor:
        return (latent @ self.weight.T).view(len(latent), 1, 6, 6)

    def deviation(self) -> Tensor:
        return self.noise


def draws(count: int) -> Any:
    return SimpleNamespace(
        rand=lambda *s: torch.rand(count, *s), randn=lambda *s: torch.randn(count, *s), gather=lambda tensor: tensor
    )


@pytest.mark.parametrize("deviation", [0.3, 0.1, 0.03, 0.01])
def test_presgan_has_the_gradient_of_the_entropy(deviation: float) -> None:
    """In all directions alike: the generator's singular values are 0.2, 1 and 5."""
    torch.manual_seed(0)
    values, latents, count = torch.tensor([0.2, 1.0, 5.0]).repeat(10), 30, 1000
    weight = torch.linalg.qr(torch.randn(36, latents))[0] * values @ torch.linalg.qr(torch.randn(latents, latents))[0]
    generator: Any = LinearGenerator(weight, deviation)
    sampler = LatentSampler(latents)
    sizes = []

    def estimate(count: int) -> tuple[Tensor, Tensor, Tensor]:
        latent = torch.randn(count, latents)
        image = generator(latent) + deviation * torch.randn(count, 1, 6, 6)
        slope = sampler.log_density_gradient(generator, image, latent, draws(count)).flatten(1)
        sizes.append(float(sampler.step_size))
        return latent, image, slope

    for _ in range(100):
        estimate(64)
    latent, image, slope = estimate(count)
    assert max(sizes[-20:]) / min(sizes[-20:]) < 1.2, "it has settled"

    posterior = torch.linalg.inv(weight.T @ weight + deviation**2 * torch.eye(latents))
    inverse = torch.linalg.inv(weight @ weight.T + deviation**2 * torch.eye(36))
    score = -image.flatten(1) @ inverse
    # What the estimate has of each picture beside the score is noise, unless it still knows the latent that it
    # started from: all that the picture itself says of that may be left out, and most of the noise with it.
    unknown = latent - image.flatten(1) @ weight @ posterior
    kept = (slope - score).T @ unknown / count
    exact = inverse @ weight
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    shares = 1 - torch.einsum("pl,pm,lm->l", left, kept, right) / torch.einsum("pl,pm,lm->l", left, exact, right)
    for part in shares.view(3, 10).mean(dim=1):
        assert part.item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [28, 32])
def test_diffaugment_is_as_published(size: int) -> None:
    torch.manual_seed(0)
    image, batch = torch.rand(2000, 3, size, size) + 1, Batch({"image": torch.zeros(2000)}, range(2000))
    shifted = differentiable_augment(image, "translation", batch)
    most = size // 8 if size == 32 else 4  # int(28 / 8 + 0.5)
    empty = (shifted == 0).all(dim=1)
    rows, columns = empty.all(dim=2).sum(dim=1), empty.all(dim=1).sum(dim=1)
    assert rows.unique().tolist() == columns.unique().tolist() == list(range(most + 1))
    assert (rows == 0).double().mean().item() == pytest.approx(1 / (2 * most + 1), abs=0.03), "each shift alike"
    cut = (differentiable_augment(image, "cutout", batch) == 0).all(dim=1).sum(dim=(1, 2))
    assert (cut.min().item(), cut.max().item()) == ((size // 4) ** 2, (size // 2) ** 2)
    changed = differentiable_augment(image, "color", batch)
    moved = (changed - image).mean(dim=(1, 2, 3))
    assert moved.min() < -0.49 and moved.max() > 0.49 and moved.abs().max() <= 0.5 + 1e-5, "brightness alone moves it"
    contrast = changed.mean(dim=1).flatten(1).std(dim=1) / image.mean(dim=1).flatten(1).std(dim=1)
    assert 0.5 <= contrast.min() < 0.51 and 1.49 < contrast.max() <= 1.5 + 1e-5


def test_the_minimax_generator_learns_least_where_it_fails() -> None:
    logits = torch.tensor([-8.0, 0.0, 8.0], requires_grad=True)
    slopes = {}
    for loss in ("bce", "minimax"):
        task = DCGAN(DCGANConfig(loss=loss, channels=1, size=8, latent=2))
        (slopes[loss],) = torch.autograd.grad(task.generator_loss(logits), logits)
    fooled = logits.detach().sigmoid()
    assert torch.allclose(slopes["minimax"], -fooled / 3) and torch.allclose(slopes["bce"], (fooled - 1) / 3)


def test_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-6)


@pytest.mark.parametrize(("size", "side"), [(28, 7), (32, 4), (12, 3)])
def test_a_pyramid_draws_pictures_of_its_size_by_class(size: int, side: int) -> None:
    drawing, judging = PyramidGenerator(3, size, 5 + 2, 4), PyramidDiscriminator(3, size, 4, spectral=True, classes=2)
    image = drawing(torch.randn(6, 7))
    assert image.shape == (6, 3, size, size) and image.abs().max() <= 1
    places: Any = drawing.begin[1]
    assert places.unflattened_size[1:] == (side, side)
    told = [judging.eval()(image, one_hot(torch.full((6,), label), 2).float()) for label in (0, 1)]
    assert told[0].shape == (6,) and not torch.allclose(*told)


def test_modulation_is_batchnorm_at_first_and_then_follows_the_numbers() -> None:
    modulation, maps, numbers = Modulation(4, 3), torch.randn(6, 4, 5, 5), torch.randn(6, 3)
    normed = batch_norm(maps, None, None, training=True)
    assert torch.equal(modulation(maps, numbers), normed)
    layer = modulation.scale_and_shift
    torch.nn.init.normal_(layer.weight)
    scale, shift = (numbers @ layer.weight.T).reshape(6, 2, 4, 1, 1).unbind(dim=1)
    assert torch.allclose(modulation(maps, numbers), normed * (1 + scale) + shift, atol=1e-5)


def test_an_importance_bound_of_many_draws_is_the_likelihood() -> None:
    """Of a decoder that ignores its latents that is known; the ELBO lacks the divergence of the posterior."""
    task = VAE(VAEConfig(model="dense", channels=1, size=4, latent=2, importance_samples=3000, metrics=("mse",)))
    model: Any = task.model
    for layer in (model.tail[0], model.posterior.linear):
        torch.nn.init.zeros_(layer.weight)
    batch = Batch({"image": torch.rand(3, 1, 4, 4).round()}, range(3))
    with torch.no_grad():
        model.posterior.linear.bias[:] = torch.tensor([0.5, -0.5, 0.3, -0.6])
        figures = task.evaluate(batch)
    assert torch.allclose(figures["importance_bound"], -figures["reconstruction"], atol=0.1)
    assert (figures["kl"] > 0.3).all() and torch.equal(figures["elbo"], -figures["reconstruction"] - figures["kl"])


def test_the_divergence_costs_nothing_at_first_where_it_is_warmed_up() -> None:
    task = VAE(VAEConfig(model="dense", channels=1, size=4, kl_warmup=0.5, beta=2.0))
    image, costs = torch.rand(3, 1, 4, 4), []
    for progress in (0.0, 0.25, 0.5, 1.0):
        batch = Batch({"image": image}, range(3), moment=Moment(progress=progress))
        costs.append(dict(task.training_step(batch))["model"]["kl"].item())
    assert costs[0] == 0 and costs[2] == costs[3] == pytest.approx(2 * costs[1], rel=1e-5) and costs[1] > 0


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
        figures.append(evaluate(task, images, create_accelerator(options), size, options).figures.own)
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
    assert inception_score(real)[0] == pytest.approx(10, rel=1e-4)
    assert inception_score(collapsed) == (pytest.approx(2), pytest.approx(0, abs=1e-6))
    assert mean_distance(collapsed[::2] + 0.0) == 0 and mean_distance(real) > 1


def test_inception_score_is_that_of_ten_parts() -> None:
    answers = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)).pow(3)
    answers /= answers.sum(dim=1, keepdim=True)
    scores = []
    for start in range(0, 100, 10):
        part = answers[start : start + 10].double().numpy()
        scores.append(np.exp(np.mean([entropy(row, part.mean(axis=0)) for row in part])))
    assert inception_score(answers) == (pytest.approx(np.mean(scores)), pytest.approx(np.std(scores)))


def test_precision_and_recall_are_as_published() -> None:
    """Set by hand: radii to the third neighbour, then who lies within whose."""
    generator = torch.Generator().manual_seed(0)
    real, other = torch.randn(60, 2, generator=generator), torch.randn(40, 2, generator=generator) * 0.8 + 1.5

    def covered(points: Tensor, of: Tensor) -> float:
        radii = [sorted((one - two).norm().item() for two in of)[3] for one in of]
        inside = [
            any((point - one).norm() <= radius for one, radius in zip(of, radii, strict=True)) for point in points
        ]
        return sum(inside) / len(inside)

    expected = covered(other, real), covered(real, other)
    assert precision_and_recall(real, other) == pytest.approx(expected) and 0.1 < min(expected) < max(expected) < 1


@pytest.mark.slow
def test_a_classifier_of_our_own_judges(train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole way: train a classifier, then a GAN whose samples it judges, beside real pictures."""
    train("classify", "--steps", 60, "--eval-every", 30).rename("runs/judge")
    metrics = ("--metrics", "fid", "kid", "inception_score", "precision_recall", "--judge", "judge", "--samples", 9)
    run = train("dcgan", "--data", "toys:Digits", "--val-data", "toys:Digits", "--steps", 1, *metrics)
    line = lines(run, "val")[0]
    for name in ("fid", "kid", "inception_score", "precision", "recall", "classes", "certainty", "diversity"):
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


def test_inception_is_refused_without_its_weights(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "hub")
    arguments = ("--task", "dcgan", "--data", "toys:Digits", "--judge", "inception", "--metrics", "fid")
    assert "there are no weights of Inception: hub/checkpoints/weights-inception" in mistake(*arguments)
    Path("hub/checkpoints").mkdir(parents=True)
    (Path("hub/checkpoints") / inception.FILE).write_bytes(b"another file")
    assert "not 6726825d...: it is damaged, or another file" in mistake(*arguments)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_figures_by_inception_are_torch_fidelitys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights: what is compared is the arithmetic."""
    from torch_fidelity import calculate_metrics
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = tmp_path / inception.FILE
    with monkeypatch.context() as patched:
        torch.save({}, weights)
        patched.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        random = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path=str(weights))
    torch.save(random.state_dict(), weights)
    judge = Judge(inception.Inception(weights), None, None, answers=False)
    sets = [(torch.rand(40, 3, 32, 32) * (0.5 + 0.5 * n) * 255).byte() for n in (1, 0)]
    (real, _), (other, answers) = (judge.split(judge(pixels / 255)) for pixels in sets)
    one, two = (torch.utils.data.Subset(pixels, range(40)) for pixels in sets)  # pyright: ignore[reportArgumentType]
    theirs = calculate_metrics(
        input1=two, input2=one, isc=True, fid=True, prc=True, isc_splits=10, samples_shuffle=False, cuda=False,
        verbose=False, batch_size=20, cache=False, feature_extractor="inception-v3-compat", prc_neighborhood=3,
        feature_extractor_weights_path=str(weights),
    )  # fmt: skip
    assert frechet_distance(real, other) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    mean, deviation = inception_score(answers)
    assert mean == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert deviation == pytest.approx(theirs["inception_score_std"], rel=1e-3, abs=1e-9)
    assert precision_and_recall(real, other) == pytest.approx((theirs["precision"], theirs["recall"]))


def test_few_samples_are_of_all_classes() -> None:
    """Also where classes take turns in the set, in step with how many pictures there are for each sample."""
    images = Resident(torch.zeros(200, 1, 8, 8, dtype=torch.uint8), torch.arange(200) % 10, tuple("0123456789"))
    batch = WithDraws(images, 20).__getitems__(range(200))
    chosen = batch["label"][batch[DRAWS][:, 0] > 0]
    assert len(chosen) == 20 and len(set(chosen.tolist())) > 5
