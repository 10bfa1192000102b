"""Networks of spandrel (an extra), which chaiNNer, ComfyUI and other upscalers load: built to be trained, for pictures
of any size, with the names and keys that `spandrel.ModelLoader` knows; and published weights as these have them.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from launchbay import UserError
from launchbay.models.spandrel_names import PREFIX, Size

Arguments = dict[str, Any]
BUILD: Mapping[str, tuple[str, Callable[[int, int, Size], Arguments]]] = {
    "ATD": (
        "ATD.ATD",
        lambda scale, channels, size: {
            **transformer(scale, channels, size), "window_size": 16, "num_tokens": 128, "reducted_dim": 20,
            "upsampler": "pixelshuffle",
        },
    ),
    "CRAFT": (
        "CRAFT.CRAFT",
        lambda scale, channels, size: {
            "in_chans": channels, "embed_dim": size.width, "depths": [2] * size.blocks,
            "num_heads": [6] * size.blocks, "upscale": scale,
        },
    ),
    "Compact": (
        "Compact.Compact",
        lambda scale, channels, size: {
            **in_and_out(channels), "num_feat": size.width, "num_conv": size.blocks, "upscale": scale,
        },
    ),
    "DAT": (
        "DAT.DAT",
        lambda scale, channels, size: {
            "in_chans": channels, "embed_dim": size.width, "depth": [6] * size.blocks,
            "num_heads": [6] * size.blocks, "split_size": [8, 32], "expansion_factor": 4.0, "upscale": scale,
        },
    ),
    "DITN": (
        "DITN.DITN",
        lambda scale, channels, size: {
            "inp_channels": channels, "dim": size.width, "UFONE_blocks": size.blocks, "upscale": scale,
        },
    ),
    "DRCT": (
        "DRCT.DRCT",
        lambda scale, channels, size: {**transformer(scale, channels, size), "upsampler": "pixelshuffle"},
    ),
    "DnCNN": (
        "DnCNN.DnCNN",
        lambda scale, channels, size: {
            "in_nc": channels, "out_nc": channels, "nc": size.width, "nb": size.blocks, "act_mode": "R",
        },
    ),
    "ESRGAN": (
        "ESRGAN.ESRGAN",
        lambda scale, channels, size: {
            "in_nc": channels, "out_nc": channels, "num_filters": size.width, "num_blocks": size.blocks,
            "scale": scale,
        },
    ),
    "HAT": ("HAT.HAT", lambda scale, channels, size: {**transformer(scale, channels, size), "window_size": 16}),
    "MoSR": (
        "MoSR.MoSR",
        lambda scale, channels, size: {
            "in_ch": channels, "out_ch": channels, "upscale": scale, "n_block": size.blocks, "dim": size.width,
        },
    ),
    "NAFNet": (
        "NAFNet.NAFNet",
        lambda scale, channels, size: {
            "img_channel": channels, "width": size.width, "middle_blk_num": size.blocks,
            "enc_blk_nums": [2, 2, 4, 8], "dec_blk_nums": [2, 2, 2, 2],
        },
    ),
    "OmniSR": (
        "OmniSR.OmniSR",
        lambda scale, channels, size: {
            **in_and_out(channels), "num_feat": size.width, "res_num": size.blocks, "up_scale": scale,
        },
    ),
    "PLKSR": ("PLKSR.PLKSR", lambda scale, channels, size: {**large_kernels(scale, size), "ccm_type": "DCCM"}),
    "RCAN": (
        "RCAN.RCAN",
        lambda scale, channels, size: {
            "scale": scale, "n_resgroups": size.blocks, "n_feats": size.width, "n_colors": channels, "norm": False,
        },
    ),
    "RGT": (
        "RGT.RGT",
        lambda scale, channels, size: {
            "in_chans": channels, "embed_dim": size.width, "depth": [6] * size.blocks,
            "num_heads": [6] * size.blocks, "split_size": [8, 32], "mlp_ratio": 2.0, "upscale": scale,
        },
    ),
    "RealPLKSR": ("PLKSR.RealPLKSR", lambda scale, channels, size: large_kernels(scale, size)),
    "SAFMN": (
        "SAFMN.SAFMN",
        lambda scale, channels, size: {"dim": size.width, "n_blocks": size.blocks, "upscaling_factor": scale},
    ),
    "SCUNet": (
        "SCUNet.SCUNet",
        lambda scale, channels, size: {"in_nc": channels, "dim": size.width, "config": [size.blocks] * 7},
    ),
    "Swin2SR": (
        "Swin2SR.Swin2SR",
        lambda scale, channels, size: {
            **transformer(scale, channels, size), "window_size": 8, "upsampler": "pixelshuffle",
        },
    ),
    "SwinIR": (
        "SwinIR.SwinIR",
        lambda scale, channels, size: {
            **transformer(scale, channels, size), "window_size": 8, "upsampler": "pixelshuffle" if scale > 1 else "",
        },
    ),
    "SwinIR-light": (
        "SwinIR.SwinIR",
        lambda scale, channels, size: {
            **transformer(scale, channels, size), "window_size": 8, "upsampler": "pixelshuffledirect",
        },
    ),
}  # fmt: skip
"""By name: architecture and class in spandrel, and what that is built with, as published, for a scale, the channels of
pictures and a size."""


def transformer(scale: int, channels: int, size: Size) -> Arguments:
    """Return what networks in the manner of SwinIR are built with: groups of six layers of six heads."""
    six = (6,) * size.blocks
    both = {"in_chans": channels, "embed_dim": size.width, "depths": six, "num_heads": six}
    return {**both, "mlp_ratio": 2.0, "upscale": scale}


def in_and_out(channels: int) -> Arguments:
    return {"num_in_ch": channels, "num_out_ch": channels}


def large_kernels(scale: int, size: Size) -> Arguments:
    return {"dim": size.width, "n_blocks": size.blocks, "upscaling_factor": scale}


def build(name: str, scale: int, channels: int, size: Size) -> nn.Module:
    """Return the network that is called `name`, such as "spandrel/Compact": N×C×H×W in [0, 1] in, `scale` times larger
    out, for any H and W. It is what `spandrel.ModelLoader` makes of its weights.

    Raises:
        UserError: spandrel is not installed, or cannot build it so.
    """
    check_installed(name)
    from spandrel import MAIN_REGISTRY

    where, arguments = BUILD[name.removeprefix(PREFIX)]
    architecture, _, kind = where.partition(".")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of ways of torch that its code still has
            made = getattr(import_module(f"spandrel.architectures.{architecture}"), kind)
            # What the loader makes of it may differ in what no weight tells: that is what others will compute with.
            loaded: Any = MAIN_REGISTRY.load(dict(made(**arguments(scale, channels, size)).state_dict()))
            network = padded(loaded.model, loaded.size_requirements).eval()
            network(torch.zeros(1, channels, 16, 16))
    except Exception as error:  # whatever its code makes of sizes that do not fit
        why = (str(error).strip().splitlines() or ["spandrel would not know its weights again"])[0]
        said = f"--model {name} cannot be built with --width {size.width} --blocks {size.blocks}: {why}"
        raise UserError(said, "leave both out; transformers want a --width that divides by 12, SCUNet by 64") from error
    if (loaded.scale, loaded.input_channels, loaded.output_channels) != (scale, channels, channels):
        said = f"--model {name} cannot be built so: others would take its weights for those of a network that enlarges"
        said += f" {loaded.scale} times, with {loaded.input_channels} channels"
        raise UserError(said, "choose another --scale, such as 4, or another --model")
    layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "drop_prob")]
    for layer in layers:
        layer.drop_prob = 0.0  # it would draw from another source than the keyed one
    return network.train()


def check_installed(name: str) -> None:
    """Raise a UserError if spandrel is not installed."""
    if find_spec("spandrel") is None:
        said = f"--model {name} is a network of the library spandrel, which is not installed"
        raise UserError(said, "pip install 'launchbay[spandrel]'")


def padded(network: nn.Module, wanted: Any) -> nn.Module:
    """Return `network`, which then takes pictures of any size: those that it cannot take are padded as spandrel pads
    them, and the output is cut.

    Args:
        wanted: spandrel's SizeRequirements.
    """
    kind: Any = type(network)
    smallest, multiple = wanted.minimum, wanted.multiple_of

    def forward(self: nn.Module, image: Tensor) -> Tensor:
        if smallest <= 1 and multiple == 1:
            return kind.forward(self, image)
        height, width = image.shape[-2:]
        output = kind.forward(self, extended(image, smallest, multiple))
        scale = output.shape[-1] // ((max_of(width, smallest) + multiple - 1) // multiple * multiple)
        return output[..., : height * scale, : width * scale]

    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return network


def extended(image: Tensor, smallest: int, multiple: int) -> Tensor:
    """Return pictures with sides of at least `smallest` pixels, a `multiple`: mirrored, and then repeated."""
    lengths = image.shape[-2:]
    more: list[Any] = [(max_of(length, smallest) + multiple - 1) // multiple * multiple - length for length in lengths]
    mirrored: list[Any] = [torch.sym_min(extra, length - 1) for extra, length in zip(more, lengths, strict=True)]
    image = pad(image, (0, mirrored[1], 0, mirrored[0]), mode="reflect")
    rest = [extra - done for extra, done in zip(more, mirrored, strict=True)]
    return pad(image, (0, rest[1], 0, rest[0]), mode="replicate")


def max_of(length: int, smallest: int) -> Any:
    """Return the larger one, where a length may be a symbol."""
    return torch.sym_max(length, smallest) if smallest else length


def is_of_spandrel(network: nn.Module) -> bool:
    """Return whether a network is one that `build` returns."""
    return any(kind.__module__.startswith("spandrel.") for kind in type(network).__mro__)  # --shard derives another


def as_spandrel_has_them(tensors: Mapping[str, Tensor], network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Return published `tensors` by the names that they have in `network`, one of spandrel's, and what spandrel takes
    them for. What it does not know is returned as it is.
    """
    from spandrel import MAIN_REGISTRY, canonicalize_state_dict

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: Any = MAIN_REGISTRY.load(canonicalize_state_dict(dict(tensors)))
    except Exception:  # whatever it is, what does not fit is said when it is compared with the network
        return dict(tensors), ""
    found, wanted = loaded.model.state_dict(), network.state_dict()
    # What is computed for a size of pictures, such as masks, and for another one here.
    computed = {
        name for name, _ in network.named_buffers() if name in found and found[name].shape != wanted[name].shape
    }
    about = ", ".join([f"{loaded.architecture.name} ×{loaded.scale}", *loaded.tags])
    return {name: wanted[name] if name in computed else value for name, value in found.items()}, about
