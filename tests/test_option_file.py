"""Files of options as text: YAML 1.2 whole, in bounds, and what is written goes back in unchanged."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import pytest

from launchbay import UserError
from launchbay.launch.config.option_file import read_options, read_values, to_yaml
from launchbay.launch.config.options import Config, TrainOptions
from launchbay.yaml12 import LARGEST_FILE

Mistake = Callable[..., str]
FILE = Path("options.yaml")


def value(text: str) -> Any:
    """What YAML has for `text`."""
    FILE.write_text(f"a: {text}\n", encoding="utf-8", errors="surrogatepass")
    return read_values(FILE)[0]["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "0100": 100, "08": 8, "0o100": 64, "0x1F": 31, "+12": 12, "-0": 0, "0": 0,
        "1e-3": 0.001, ".5": 0.5, "5.": 5.0, "+.5E+3": 500.0, "-.inf": float("-inf"), "1.": 1.0,
        "~": None, "null": None, "Null": None, "NULL": None, "": None, "!!null ''": None,
        "true": True, "False": False, "TRUE": True,
        "!!str 0100": "0100", "!!int 0x10": 16, "!!float 1": 1.0, "[1, [2]]": [1, [2]], "{b: 1}": {"b": 1},
    }.items(),
)  # fmt: skip
def test_the_core_schema_of_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected and type(found) is type(expected)


STRINGS = [
    "1:30", "1:30:00.5", "0b11", "1_000", "1_0.5", "2020-01-01", "2020-01-01 10:00:00", "yes", "off", "y", "tRUE",
    "nULL", "0O17", "-0o7", "-0x1", "0x", ".", "e3", ".e3", "1e", "+", "<<", "=", ".INf", "-.nan", "inf", "NaN",
]  # fmt: skip


@pytest.mark.parametrize("text", STRINGS)
def test_what_is_a_string_in_yaml_1_2(text: str) -> None:
    assert value(text) == text


BAD = {
    "&x [*x]": r"a reference \(\*\) is not read",
    "&x 1\nb: *x": r"a reference \(\*\) is not read",
    "{b: 1, b: 2}": "a key that is there twice",
    "!!python/object/apply:os.system [id]": "not of the core schema",
    "!!binary aGk=": "not of the core schema",
    "!!timestamp 2020-99-99": "not of the core schema",
    "!mine 1": "not of the core schema",
    "!!int 0b11": "no value of the kind int",
    "!!bool yes": "no value of the kind bool",
    "!!float x": "no value of the kind float",
    "1" * 5000: "no value of the kind int",
    '"\\e[2J"': "a string with control characters",
    '"\\0"': "a string with control characters",
    '"\\x9b"': "a string with control characters",
    '"\\ud800"': "a string with control characters",
    '"\\UFFFFFFFF"': "is not valid YAML",
    "\x07": "is not valid YAML",
    "{[b]: 1}": "unhashable",
    "1\n---\nb: 2": "another document",
    "1\n? [b]\n: 2": "is no name",
    '1\n"\\e": 2': "a string with control characters",
    "\ud800": "is no text in UTF-8",
}


@pytest.mark.parametrize("text", BAD)
def test_what_no_file_of_options_has_is_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match=BAD[text]) as error:
        value(text)
    assert "options.yaml" in error.value.message and error.value.hint


LAUGHS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9) if n else 'ha'}]\n" for n in range(30))


@pytest.mark.parametrize(
    "text",
    [LAUGHS, LAUGHS.replace("[", "{a: ").replace("]", "}"), *(f"a: {part * 100_000}" for part in ("[", "{a: "))]
    + ["a:\n  " + part * 100_000 for part in ("- ", "? ")] + ["{" * 3000, "a: 1\n" * 10**6],
    ids=["laughs", "of mappings", "[", "{", "-", "?", "{{", "long"],
)  # fmt: skip
def test_no_text_takes_long_or_much(text: str, mistake: Mistake) -> None:
    FILE.write_text(text)
    assert "options.yaml" in mistake("--task", "toys:Single", "--config", FILE)


@pytest.mark.parametrize("odd", ["pipe", "device", "folder", "nothing", "large"])
def test_what_is_no_file_is_refused_at_once(odd: str, mistake: Mistake) -> None:
    match odd:
        case "pipe":
            os.mkfifo(FILE)
        case "device":
            FILE.symlink_to("/dev/zero")
        case "folder":
            FILE.mkdir()
        case "large":
            FILE.write_bytes(b"#" * (LARGEST_FILE + 1))
    said = mistake("--task", "toys:Single", "--config", FILE)
    assert "options.yaml" in said and "give a file of options" in said


@dataclass(frozen=True)
class Options:
    text: str = ""
    numbers: tuple[float, ...] = ()
    whole: int = 1
    texts: tuple[str, ...] = ()
    maybe: str | None = None


def there_and_back(options: Any) -> Any:
    file = Path("config.yaml")
    file.write_text(to_yaml(Config("toy", TrainOptions(), options)), encoding="utf-8")
    return read_options(file, Config("toy", TrainOptions(), type(options)()))[0].options


AWKWARD = (
    *STRINGS, "0100", "null", "~", "1e-3", "0o17", "0x1F", ".5", "+.5", "5.", "true", "#", "&a", "*a", "!a", "%a", "@a",
    "`a", "[", "{", "]", ",", "?", ":", "'", '"', "\\", "---", "...", "-.inf", "-", "🙂", "", " a", "a ", "a\nb", "\n",
    "a\n\n b\n", "\t", "a\tb", "- a", "a: b", "a #b", "--- a", "a" * 300, "a b  c " * 40, "\u2028", "\ufeff", "\u202e",
    "é\u0301", "\U0010ffff",
)  # fmt: skip


def test_what_is_written_goes_back_in_unchanged() -> None:
    for text in ("0100", "1e-3", "", "null"):
        options = Options(text, maybe=text)
        assert there_and_back(options) == options
    draw = random.Random(5)
    letters = "".join(AWKWARD) + "0123456789eE+-.:_xo" * 9
    words = (*AWKWARD, *("".join(draw.choices(letters, k=draw.randrange(9))) for _ in range(1000)))
    numbers = (
        *(draw.gauss(0, 1) * 10.0**power for power in range(-300, 300)),
        *map(float, range(10**16, 10**17, 10**15)),
    )
    options = Options(texts=words, numbers=numbers, whole=-(10**30))
    back = there_and_back(options)
    assert [pair for pair in zip(back.texts, words, strict=True) if pair[0] != pair[1]] == []
    assert back == options


def test_a_value_that_a_file_cannot_hold_is_named_before_training() -> None:
    for odd in ("\x1b[2J", "\0", "\ud800"):
        with pytest.raises(UserError, match=r"config.yaml cannot hold the options: a string with control characters"):
            there_and_back(Options(odd))
    shared = {"a": [1]}
    kind = make_dataclass(
        "Twice", [(name, dict[str, list[int]], field(default_factory=dict)) for name in ("one", "two")], frozen=True
    )
    assert there_and_back(kind(shared, shared)) == kind(shared, shared)


def test_a_long_value_is_shown_in_part(mistake: Mistake) -> None:
    FILE.write_text(f"lr: {'x' * 200_000}")
    said = mistake("--task", "superres", "--config", FILE)
    assert "xxx... has to be a valid number" in said and len(said) < 1000
