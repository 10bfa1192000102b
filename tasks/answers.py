"""What a trained task answers when somebody uses it: `launchbay apply` writes or shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """Pictures made of each of N pictures."""

    by_name: Mapping[str, Tensor]
    """N×1×H×W (grey) or N×3×H×W in [0, 1], as large as what they are made of, or a whole number of times larger. Names
    become part of the names of files; one picture alone is called ""."""


@dataclass(frozen=True)
class Classes:
    """How probable each class is for each of N pictures."""

    probabilities: Tensor
    """N×K, each row with the sum 1. The names of the classes are those of the training pictures."""


Answer = Pictures | Classes
"""What `Task.reply` gives."""
