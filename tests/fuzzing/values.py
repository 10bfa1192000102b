"""What tests/fuzz.py puts in the place of values: of JSON, of YAML, of names."""

import random
from typing import Any

import torch

CALLED = ("stranger:Task", "stranger:Set", "stranger:call", "runs.it.stranger:Task", "shutil:rmtree", "os:mkdir")
"""What may not be imported or called, and is here."""
NAMES = (
    "", ".", "..", "/", "../../outside", "../../../outside/secret.txt", "/etc/passwd", "a/b", "a\\b", "~", "-rf",
    "\x1b[31mred\x1b]0;title\x07", "two\nlines", "\x00", "\x9b2J", "\u202eevil", "\ud800", "x" * 300, "x" * 70_000,
    "model", "model.weight", "step-00000001", "é", "CON", "%s%n", "{0.__class__}", "[bold red]markup[/]", "[/]",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 2.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), -float("inf"), 2**31, 2**63, 2**64, -(2**63),
    10**12, 10**30, 10**400, True, False,
)  # fmt: skip
DEEP = 100_000
"""Levels of nesting that no parser takes by recursion."""
YAML = (
    "!!python/object/apply:os.system ['touch ../mark']", "!!python/name:os.system", "!!binary aGVsbG8=",
    "!!set {a, b}", "!!int x", "!!float x", "!!timestamp x", "!!omap [a: 1]", "!!null x", "!!bool x",
    "!stranger x", "*unknown", "&a [*a]",
    "&a {b: *a}", "{<<: 1}", "{<<: [1]}", "{[1]: 2}", "{{a: 1}: 2}", "? a", "0100", "0o17", "0x1F", "0b11", "1:30",
    "190:20:30", "1_000", "2020-01-01", "2020-99-99", "2001-12-14t21:59:43.10-05:00", "~", "null", "", "yes", "off",
    ".inf", "-.inf", ".nan", "1e3", "1e400", "1" * 5000, "1e" + "9" * 400, "-1", "0", "999999999999", "1000000000",
    "99999999", "300", "2.5", "'text'", '"\\e[31mred\\a"', '"\\0"', '"\\ud800"', '"\\x9b2J"', "[1, 2", "{a: 1",
    "[a, [b, [c]]]", "[]", "{}", "|\n  text\n  more", ">-\n  folded", "%YAML 1.1", "--- x", "...", "# nothing",
    "[" * 3000, "[" * DEEP, "{a: " * 3000, "- - - - x", "\ttab", "@at", "`tick", "x: y", "../outside", "/dev/zero",
    "../outside/pipe", "../outside/secret.txt", "/proc/self/environ", "[../outside, ../outside]",
    "fuzz-noise+fuzz-noise",
    "[" + ", ".join(["fuzz-noise"] * 2000) + "]", "timm/resnet18", "hf-hub:someone/something", "fp64", "runs/it",
)  # fmt: skip
"""Values of an option in YAML, whole and broken."""
DTYPES = (
    torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64, torch.int32, torch.int8, torch.uint8,
    torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint64,
)  # fmt: skip


def laughs() -> str:
    """Return YAML of a kilobyte that stands for 10⁹ words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]) + "\n"


def value(chance: random.Random) -> Any:
    """Return something that JSON can hold, of any kind."""
    kinds = (
        lambda: chance.choice(NAMES),
        lambda: chance.choice(NUMBERS),
        lambda: chance.choice(CALLED),
        lambda: chance.choice((None, [], {}, [None], [[]], {"": {}}, [1, "a", None], {"a": 1})),
        lambda: chance.choice(([0] * 100_000, {str(n): n for n in range(10_000)})),
    )
    return chance.choices(kinds, (6, 8, 2, 6, 1))[0]()


def picked(content: Any, chance: random.Random) -> tuple[Any, Any]:
    """Return a part of what JSON holds, dict or list, and a key of it."""
    places: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting:
        part = waiting.pop()
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        for key in keys:
            places.append((part, key))
            if isinstance(part[key], dict | list):
                waiting.append(part[key])
    return chance.choice(places) if places else (None, None)


def upset(content: Any, chance: random.Random) -> tuple[Any, str]:
    """Return JSON `content` with one part changed, and what was done."""
    part, key = picked(content, chance)
    if part is None or chance.random() < 0.05:
        new = value(chance)
        return new, f"all of it is {new!r:.80}"
    match chance.choice(("put", "put", "put", "put", "delete", "add", "rename", "swap")):
        case "put":
            part[key] = value(chance)
            return content, f"{key!r:.60} = {part[key]!r:.80}"
        case "delete":
            del part[key]
            return content, f"without {key!r:.60}"
        case "add":
            new, name = value(chance), chance.choice(NAMES)
            if isinstance(part, dict):
                part[name] = new
            else:
                part.insert(key, new)
            return content, f"{name!r:.40}: {new!r:.60} beside {key!r:.60}"
        case "rename" if isinstance(part, dict):
            name = chance.choice(NAMES)
            part[name] = part.pop(key)
            return content, f"{key!r:.60} is called {name!r:.40}"
        case _:
            other, place = picked(content, chance)
            part[key], other[place] = other[place], part[key]
            return content, f"{key!r:.60} and {place!r:.60} swapped"
