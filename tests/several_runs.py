"""Train one run after the other in this process: `several_runs.py FILE`, a JSON list of argument lists."""

import json
import sys
from pathlib import Path

from accelerate.state import GradientState

from launchbay.launch.distributed.signals import Stop
from launchbay.launch.train import leave_processes, run

for argv in json.loads(Path(sys.argv[1]).read_text()):
    GradientState._reset_state()  # accelerate keeps the accumulation of the run before
    run(argv, Stop())
leave_processes()
