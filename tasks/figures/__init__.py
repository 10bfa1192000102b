"""Metrics of pictures, judges of generated pictures, plots. No task, no training."""

from launchbay.tasks.figures.judge import (
    Judge,
    class_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_judge,
    mean_distance,
)
from launchbay.tasks.figures.metrics import (
    ImageMetric,
    image_figures,
    load_metric_networks,
    lpips,
    luma,
    mae,
    mse,
    psnr,
    quantize,
    smallest_for,
    ssim,
)
from launchbay.tasks.figures.plots import confusion_matrix, tile_pictures

__all__ = [
    "ImageMetric",
    "Judge",
    "class_coverage",
    "confusion_matrix",
    "frechet_distance",
    "image_figures",
    "inception_score",
    "kernel_distance",
    "load_judge",
    "load_metric_networks",
    "lpips",
    "luma",
    "mae",
    "mean_distance",
    "mse",
    "psnr",
    "quantize",
    "smallest_for",
    "ssim",
    "tile_pictures",
]
