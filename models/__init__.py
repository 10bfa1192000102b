"""Networks, plain `nn.Module`s, and their weights as they are read. They know nothing of tasks, data or the
launcher."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launchbay.models.classify import Classifier, build_classifier
    from launchbay.models.pretrained import timm_network
    from launchbay.models.residual import DnCNN, UNet
    from launchbay.models.resize import bicubic, downscale, upscale
    from launchbay.models.superres import ESPCN, SRCNN, SRResNet

__all__ = [
    "ESPCN",
    "SRCNN",
    "Classifier",
    "DnCNN",
    "SRResNet",
    "UNet",
    "bicubic",
    "build_classifier",
    "downscale",
    "timm_network",
    "upscale",
]
MODULES = ("classify", "pretrained", "residual", "resize", "superres")
"""Where they are."""


def __getattr__(name: str) -> object:
    """Import what is public when it is asked for: whoever only reads files here does without torch."""
    if name in __all__:
        for module in MODULES:
            if hasattr(found := import_module(f"launchbay.models.{module}"), name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
