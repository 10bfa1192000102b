"""GAN: a generator learns to draw pictures that a discriminator cannot tell from real ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from launchbay.tasks import Batch, CreateOptimizer, Generative, Losses
from torch import Tensor
from torch.nn.functional import softplus
from torch.optim import Optimizer

from .network import Discriminator, Generator


@dataclass(frozen=True)
class MyPluginConfig:
    latent: int = 64
    """Length of the latent vector: the random numbers that a picture is generated from."""
    width: int = 64
    """Channels of the layers next to the picture; the inner layers have twice as many."""
    judge: str | None = None
    """Run folder of a classify task on the same data, which judges the samples. Default: none."""
    channels: int | None = None
    """Channels of the pictures. Default: those of the training pictures; folders are read in colour."""
    size: int | None = None
    """Side that pictures are resized to, in pixels. Default: theirs if they are squares of one size, otherwise 32."""


class MyPlugin(Generative[MyPluginConfig]):
    defaults: ClassVar = {
        "data": "glyphs", "batch_size": 32, "steps": 1500, "lr": 5e-4, "ema": 0.99, "schedule": "constant",
        "clip_norm": None,
    }  # fmt: skip

    def __init__(self, config: MyPluginConfig):
        super().__init__(config)
        channels, size = config.channels or 1, config.size or 28
        self.latent = config.latent
        self.generator = Generator(config.latent, channels, size, config.width)
        self.discriminator = Discriminator(channels, size, config.width)

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {name: create(network.parameters(), betas=(0.5, 0.999)) for name, network in self.networks().items()}

    def training_step(self, batch: Batch) -> Losses:
        real, fake = 2 * batch.image - 1, self.generator(batch.randn(self.latent))

        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        yield "discriminator", {"real": softplus(-on_real).mean(), "fake": softplus(on_fake).mean()}

        yield "generator", {"adversarial": softplus(-self.discriminator(fake)).mean()}

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        return (self.generator(latent) + 1) / 2
