"""A task that is wrong before it is built: its module imports too much, and its __init__ opens a file."""

from pathlib import Path

import matplotlib
from toys import NoOptions, Single


class Heavy(Single):
    """As heavy as its module, and nothing else is wrong with it."""

    version = matplotlib.__version__


class Opening(Heavy):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.note = (Path(__file__).parents[1] / "README.md").read_text()
