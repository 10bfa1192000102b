"""What a stranger may have done to a run folder.

Each mutation takes the world and a source of chance, changes the run folder, and returns what it did, in words. Where
a checkpoint is to be believed its manifest and seal are made anew.
"""

import random
from collections.abc import Callable

from fuzzing import files, tensors, texts, torch_files
from fuzzing.world import World

Mutation = Callable[[World, random.Random], str]
KINDS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        files.bits, files.length, files.links, files.hard_links, files.odd_kinds, files.pointers, files.strange_names,
        files.pickles, files.many, texts.state, texts.manifest, texts.record, texts.options, texts.calls,
        texts.progress, texts.sizes, tensors.header, tensors.tensors, tensors.moments, torch_files.torch_file,
    )
}  # fmt: skip
ONLY_READ_BY = {
    "calls": ("evaluate", "evaluate-last", "apply", "config", "judge", "resume", "train-on"),
    "options": ("evaluate", "evaluate-last", "apply", "config", "compare", "compare-other"),
    "record": ("compare", "compare-other", "report", "train-on", "train-again", "train-further"),
    "sizes": ("evaluate", "evaluate-last", "apply", "judge", "resume", "train-on"),
    "progress": ("train-on", "train-again", "train-further", "resume", "evaluate", "compare", "report"),
    "torch_file": ("weights-torch",) * 3,
    "moments": ("train-on", "train-further", "resume"),
}
"""The verbs for which a kind of mutation changes anything; all, for those that are not here."""
