"""What devices have, and what they lack: the one place that knows them by their names, beside exact.py. All else asks
here, so that whatever holds for NVIDIA's GPUs (cuda) holds for Intel's (xpu), Huawei's (npu) and Apple's (mps).
"""

import os
import statistics
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import conv2d

NO_GPU = ("cpu", "meta")


def can_pin(device: torch.device) -> bool:
    """Return whether copies between pinned memory of the host and `device` are made while both go on. Apple's GPUs
    share the host's memory; torch pins none for them.
    """
    return device.type not in (*NO_GPU, "mps")


def compute_alike(device: torch.device) -> None:
    """Have the same numbers give the same bits on `device`, as far as cuDNN goes: a run that is continued is to learn
    what one that was not stopped does. Some of its gradients of convolutions would add up in whatever order.
    """
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True


def tf32() -> str:
    """Return what NVIDIA's GPUs compute in TF32, with 10 bits of fraction, where numbers are fp32: torch lets
    convolutions, and matrix products only if somebody says so.
    """
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return "nothing"
    kinds = ["convolutions"] * torch.backends.cudnn.allow_tf32
    kinds += ["matrix products"] * (torch.get_float32_matmul_precision() != "highest")
    return " and ".join(kinds) or "nothing"


def describe(device: torch.device) -> dict[str, str]:
    """Return what of a GPU decides on the last digits of figures; nothing of a CPU."""
    if device.type in NO_GPU:
        return {}
    name = getattr(torch.get_device_module(device), "get_device_name", lambda _: device.type)(device)
    if device.type != "cuda":
        return {"gpu": name}
    cudnn = str(torch.backends.cudnn.version())
    return {"gpu": name, "cuda": str(torch.version.cuda or torch.version.hip), "cudnn": cudnn, "tf32": tf32()}


def gpus() -> list[torch.device]:
    """Return the GPUs that this process sees."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    return [torch.device(kind.type, number) for number in range(torch.accelerator.device_count())] if kind else []


def bf16_speedup(device: torch.device) -> float:
    """Measure how many times as fast as in fp32 `device` computes a convolution and its gradients in bf16, in about a
    second. That there are instructions for bf16 says little: an Intel CPU with avx512_bf16 and without AMX was slower
    in it, and torch emulates it on NVIDIA's GPUs before Ampere.

    Raises:
        RuntimeError, TypeError: the device cannot compute in it, or has no memory left.
    """

    def seconds(dtype: torch.dtype) -> float:
        count = 16 if device.type in NO_GPU else 512
        weight, maps = (  # random ones would come from the generator of a training that asks
            torch.ones(*shape, device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
            for shape in ((64, 64, 3, 3), (count, 64, 18, 18))
        )
        compute(weight, maps, 2)  # what is chosen and allocated once is done then
        start = time.perf_counter()
        compute(weight, maps, 5)
        return time.perf_counter() - start

    def compute(weight: Tensor, maps: Tensor, times: int) -> None:
        for _ in range(times):
            conv2d(maps, weight, padding=1).sum().backward()
        if device.type not in NO_GPU:
            torch.accelerator.synchronize(device)

    # In turns, because others may use the machine too; a few where a processor takes long.
    found: list[float] = []
    end = time.perf_counter() + 0.5
    while not found or (len(found) < 7 and time.perf_counter() < end):
        found.append(seconds(torch.float32) / seconds(torch.bfloat16))
    return statistics.median(found)


def has_graphs(device: torch.device) -> bool:
    """Return whether torch.compile can replay on `device` what it has recorded there, as CUDA graphs."""
    return device.type == "cuda"


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generators of random numbers of the CPU and of `device`."""
    torch.default_generator.manual_seed(seed)
    if device.type not in NO_GPU:
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def random_state_kept(device: torch.device) -> Generator[None]:
    """Leave the generators of the CPU and of `device` as they were before the block."""
    if device.type == "mps":  # there is one, and its functions take no number of it
        before = torch.mps.get_rng_state()
        try:
            with torch.random.fork_rng([]):
                yield
        finally:
            torch.mps.set_rng_state(before)
    elif device.type in NO_GPU:
        with torch.random.fork_rng([]):
            yield
    else:
        with torch.random.fork_rng([device], device_type=device.type):
            yield


def device_in_use() -> torch.device:
    """Return the GPU that this process computes on already; the CPU if there is none."""
    gpu = torch.accelerator.current_accelerator(check_available=True)
    if gpu is None:
        return torch.device("cpu")
    begun = getattr(torch.get_device_module(gpu), "is_initialized", lambda: True)
    return gpu if begun() else torch.device("cpu")


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes are free on `device`; None where it shares the host's memory."""
    ask = None if device.type in NO_GPU else getattr(torch.get_device_module(device), "mem_get_info", None)
    return None if ask is None else ask(device)[0]


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes of `device` that this process has had; None where nobody counts them."""
    ask = None if device.type in NO_GPU else getattr(torch.get_device_module(device), "max_memory_allocated", None)
    return None if ask is None else ask(device)


def to_host(tensors: Mapping[str, Tensor], kept: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return a copy of each of `tensors` on the host; in the memory of those `kept`, which were returned before, where
    they fit. A device is waited for once, not for each tensor.
    """
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        mine, pins = (kept or {}).get(name), can_pin(tensor.device)
        if mine is None or (mine.shape, mine.dtype) != (tensor.shape, tensor.dtype):
            mine = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pins)
        copies[name] = mine.copy_(tensor.detach(), non_blocking=pins)
    for device in {tensor.device for tensor in tensors.values() if can_pin(tensor.device)}:
        torch.accelerator.synchronize(device)
    return copies
