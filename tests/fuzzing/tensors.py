"""Mutations of safetensors: their headers, and tensors of other kinds, shapes, values and names."""

import json
import random
import struct
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fuzzing.sealed import detach, everywhere, steps
from fuzzing.values import DEEP, DTYPES, NAMES, upset
from fuzzing.world import World


def moments(world: World, chance: random.Random) -> str:
    """Change what an optimizer keeps of one parameter, or of all."""
    seed = chance.random()

    def change(file: Path) -> str:
        same, content = random.Random(seed), load_file(file)
        key = same.choice(("step", "exp_avg", "exp_avg_sq"))
        chosen = [name for name in sorted(content) if name.endswith(f".{key}")]
        chosen = chosen if same.random() < 0.3 else [same.choice(chosen)]
        kind = same.choice(("dtype", "shape", "value", "drop", "add"))
        for name in chosen:
            old, detail = content[name], random.Random(seed)
            match kind:
                case "dtype":
                    content[name] = old.to(detail.choice(DTYPES))
                case "shape":
                    content[name] = reshaped(old, detail)
                case "value":
                    number = detail.choice((float("nan"), float("inf"), -1.0, 3e38, -3e38, 1e-45, 2.0**40))
                    content[name] = torch.full_like(old, number)
                case "drop":
                    del content[name]
                case _:
                    content[f"{name.rpartition('.')[0]}.{detail.choice(('max_exp_avg_sq', 'x', ''))}"] = old.clone()
        file.unlink()
        save_file(content, file)
        return f"{kind} of {key} of {len(chosen)} parameters"

    return f"{everywhere(world, 'optimizers.safetensors', change)}, sealed"


def tensor_file(world: World, chance: random.Random) -> str:
    """Return the name of one, those of optimizers more often."""
    names = sorted({path.name for step in steps(world) for path in step.glob("*.safetensors")})
    return chance.choice([*names, "optimizers.safetensors", "optimizers.safetensors"])


def header(world: World, chance: random.Random) -> str:
    seed, name = chance.random(), tensor_file(world, chance)

    def change(file: Path) -> str:
        same, content = random.Random(seed), detach(file).read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        inside = json.loads(content[8 : 8 + size])
        names = [name for name in inside if name != "__metadata__"]
        if not names:
            return "empty already"
        chosen = same.choice(names)
        kind = same.choice(("dtype", "shape", "offsets", "any", "length", "name", "metadata", "deep"))
        done = f"{kind} of {chosen}"
        match kind:
            case "dtype":
                inside[chosen]["dtype"] = same.choice(("F64", "F16", "BF16", "I32", "U8", "BOOL", "C64", "F4", "X", ""))
            case "shape":
                whole = torch.Size(inside[chosen]["shape"]).numel()
                shapes = ([whole], [1, whole], [whole, 1, 1], [0], [], [2**62, 4], [-1], [0, 2**62], [1] * 70, [2**40])
                inside[chosen]["shape"] = same.choice(shapes)
            case "offsets":
                inside[chosen]["data_offsets"] = same.choice(([0, 0], [4, 0], [-4, 4], [0, 2**60], [2**63, 2**64], []))
            case "any":
                inside, done = upset(inside, same)
            case "name":
                inside[same.choice(NAMES)] = inside.pop(chosen)
            case "metadata":
                inside["__metadata__"] = same.choice(({"digest": "\x1b[31m"}, {"a": 1}, [], {"a": "b" * 100_000}, None))
            case _:
                pass
        text = json.dumps(inside).encode()
        text = b'{"a":' * DEEP if kind == "deep" else text
        size = same.choice((0, 1, len(text) + 1, 2**40, 2**64 - 1)) if kind == "length" else len(text)
        file.write_bytes(struct.pack("<Q", size) + text + content[8 + struct.unpack("<Q", content[:8])[0] :])
        return done

    return f"{everywhere(world, name, change)}, sealed"


def tensors(world: World, chance: random.Random) -> str:
    seed, name = chance.random(), tensor_file(world, chance)

    def change(file: Path) -> str:
        same, content = random.Random(seed), load_file(file)
        if not content:
            return "empty already"
        chosen = same.choice(sorted(content))
        old, done = content[chosen], same.choice(("dtype", "shape", "value", "drop", "rename", "add", "all"))
        match done:
            case "dtype":
                kind = same.choice(DTYPES)
                content[chosen] = old.to(torch.float32).to(kind)
                done = str(kind)
            case "shape":
                content[chosen] = reshaped(old, same)
                done = f"shape {tuple(content[chosen].shape)}"
            case "value":
                number = same.choice((float("nan"), float("inf"), -1.0, 1e38, -1e38, 1e-45, 2.0**40))
                content[chosen] = torch.full_like(old, number) if old.is_floating_point() else old * 0 - 1
                done = str(number)
            case "drop":
                del content[chosen]
            case "rename":
                content[same.choice(NAMES[1:-1]).replace("\ud800", "")] = content.pop(chosen)
            case "add":
                content[f"{chosen}{same.choice(('.x', 'x', '.exp_avg', '/../x', '.step'))}"] = old.clone()
            case _:
                content = {key: tensor.double() for key, tensor in content.items()}
                done = "all float64"
        file.unlink()
        save_file({key: tensor.contiguous() for key, tensor in content.items()}, file)
        return f"{done} of {chosen}"

    return f"{everywhere(world, name, change)}, sealed"


def reshaped(tensor: Tensor, chance: random.Random) -> Tensor:
    match chance.choice(("one", "flat", "more", "none", "many", "short")):
        case "one":
            return tensor.new_ones(1)
        case "flat":
            return tensor.flatten().clone()
        case "more":
            return tensor.clone()[None]
        case "none":
            return tensor.new_zeros(0)
        case "many":
            return tensor.new_zeros(tuple(tensor.shape) + (1,) * 30)
        case _:
            return tensor.flatten()[:-1].clone()
