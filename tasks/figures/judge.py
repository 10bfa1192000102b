"""Judges of generated pictures: a classifier's features and answers, and the figures that are made of them."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pdist

from launchbay import UserError
from launchbay.exact import exact
from launchbay.models.bounds import bounded_by
from launchbay.models.checkpoints import OpenedCheckpoint, load_weights, open_checkpoint, read_state
from launchbay.models.classify import Classifier, build_classifier
from launchbay.models.inception import Inception, load_inception

TIMM_SIDE = 64
"""Pixels that networks of timm are shown, trained on 224: a compromise with what this costs on a CPU."""

HINT = (
    "train a judge with --task classify on the same data and name its run folder, such as --judge runs/classify-1; "
    "or leave out the metrics that need one"
)


class Judge(nn.Module):
    """A frozen classifier: `forward` gives N×(D + K), the features its last layer sees and the K classes'
    probabilities. `answers` says whether its classes are those of the data. It is shown pictures of `channels` and
    `side`; None: as they are.
    """

    def __init__(self, classifier: Classifier | Inception, channels: int | None, side: int | None, answers: bool):
        super().__init__()
        self.classifier = classifier
        self.channels, self.side, self.answers = channels, side, answers
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Return N×(D + K) for pictures N×C×H×W in [0, 1] of any size; `split` takes it apart."""
        if self.channels and image.shape[1] != self.channels:
            image = image.expand(-1, self.channels, -1, -1) if image.shape[1] == 1 else image.mean(1, keepdim=True)
        if self.side and image.shape[-1] != self.side:
            image = interpolate(image, self.side, mode="bilinear", antialias=True)
        features = self.classifier.features(image)
        return torch.cat([features, self.classifier.head(features).softmax(dim=1)], dim=1)

    def split(self, judged: Tensor) -> tuple[Tensor, Tensor]:
        """Return (features, probabilities) of what `forward` gave."""
        classes = self.classifier.head.out_features
        return judged[:, :-classes], judged[:, -classes:]


def load_judge(name: str) -> Judge:
    """Return the judge that `name` says: inception, timm/NAME with its published weights, or a run of classify (its
    best checkpoint, verified) or one checkpoint of it.

    Raises:
        UserError: its weights cannot be had, or it is neither.
    """
    if name == "inception":
        return Judge(load_inception(), None, None, answers=False)
    if name.startswith("timm/"):
        try:
            return Judge(build_classifier(name, 3, TIMM_SIDE, 1000, 0, pretrained=True), 3, TIMM_SIDE, answers=False)
        except UserError as error:
            raise UserError(f"no judge: {error.message}", HINT) from error
    try:
        checkpoint = open_checkpoint(Path(name), "best", f"--judge {name}")
        config = read_state(checkpoint).config
        if (task := config.get("task")) != "classify":
            raise UserError(f"--judge {name} is a run of {task}", HINT)
        model, values = config.get("model"), [config.get(key) for key in ("channels", "size", "classes", "width")]
        sizes = [number for number in values if type(number) is int and number > 0]
        if not isinstance(model, str) or len(sizes) < len(values):
            raise UserError(f"--judge {name}: {checkpoint} does not say how to build its network", HINT)
        with bounded_by(checkpoint, f"--judge {name}"):
            classifier = build_classifier(model, *sizes, pretrained=False)
        load_weights(OpenedCheckpoint(checkpoint), {"model": classifier})
    except UserError as error:
        raise UserError(error.message, f"put that run back if it was moved; {HINT}") from error
    except (TypeError, OverflowError) as error:  # numbers that torch cannot count with
        raise UserError(f"--judge {name}: its network cannot be built: {str(error).splitlines()[0]}", HINT) from error
    return Judge(classifier, sizes[0], sizes[1], answers=True)


def frechet_distance(real: Tensor, other: Tensor) -> float:
    """Fréchet distance of two sets of features N×D as normal distributions (Heusel et al., 2017): 0 on, lower is
    better. Depends on the network, the number of samples and their size: comparable only where those agree. Sees
    neither what is copied from the training set nor more than two moments.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=Features(real.shape[1])).set_dtype(torch.float64)
    metric.update(exact(real), real=True)
    metric.update(exact(other), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, other: Tensor) -> float:
    """Kernel distance of two sets of features N×D (Binkowski et al., 2018), its mean over 50 subsets of up to 1,000:
    about 0 on, lower is better. Unbiased, so fit for few samples, where FID flatters none but is too high.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps the features, which are here anyway
        torch.manual_seed(0)  # it draws its subsets from the global generator
        metric = KernelInceptionDistance(
            feature=Features(real.shape[1]), subsets=50, subset_size=min(1000, len(real), len(other))
        )
        metric.update(real, real=True)
        metric.update(other, real=False)
        return float(metric.compute()[0])


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """Return the mean and the standard deviation, over `splits` equal parts of N×K answers, of exp of the mean
    divergence of the answers from their average (Salimans et al., 2016, and their code): 1 to K, higher is better.
    Sees certainty and spread over the judge's classes; blind to how alike the pictures of one class are.
    """
    scores = []
    for part in exact(probabilities).clamp_min(1e-12).tensor_split(min(splits, len(probabilities))):
        divergence = (part * (part.log() - part.mean(dim=0).log())).sum(dim=1)
        scores.append(divergence.mean().exp())
    return float(torch.stack(scores).mean()), float(torch.stack(scores).std(correction=0))


def precision_and_recall(real: Tensor, other: Tensor, nearest: int = 3) -> tuple[float, float]:
    """Return the share of `other` features that lie among the `real` ones, and of real ones that lie among the others,
    both N×D (Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019,
    equation 1): quality and variety apart, 0 to 1. A feature lies among a set if it is as near to one of its members as
    that one's `nearest`-th neighbour in the set. Grows with the number of samples: compare like with like.
    """
    real, other = exact(real), exact(other)
    precision = among(other, real, nearest)
    recall = among(real, other, nearest)
    return precision, recall


def among(features: Tensor, others: Tensor, nearest: int, part: int = 1000) -> float:
    """Return the share of `features` that lie among the `others`. A `part` of the distances at a time: those of 50,000
    pictures are 20 GB.
    """
    radii = torch.cat([torch.cdist(some, others).kthvalue(nearest + 1).values for some in others.split(part)])
    inside = [(torch.cdist(some, others) <= radii).any(dim=1) for some in features.split(part)]
    return float(exact(torch.cat(inside)).mean())


def class_coverage(probabilities: Tensor, real: Tensor) -> float:
    """Return how many classes are generated at least a quarter as often as the judge sees them in `real`
    data: 0 to K.
    """
    share, expected = (torch.bincount(p.argmax(1), minlength=p.shape[1]) / len(p) for p in (probabilities, real))
    return float(((share >= expected / 4) & (expected > 0)).sum())


def mean_distance(small: Tensor) -> Tensor:
    """Mean distance between two of up to 1,000 pictures N×D. It falls to 0 as a generator collapses."""
    return pdist(exact(small[:1000])).mean()


class Features(nn.Module):
    """A feature network as torchmetrics asks for one, where the features are there already."""

    def __init__(self, count: int):
        super().__init__()
        self.num_features = count

    def forward(self, features: Tensor) -> Tensor:
        return features
