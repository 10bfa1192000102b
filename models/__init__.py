"""Networks, plain `nn.Module`s, and their weights as they are read. They know nothing of tasks, data or the
launcher."""

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
