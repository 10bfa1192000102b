"""Train one run after the other in this process: `several_runs.py FILE`, a JSON list of argument lists."""

import json
import sys
from pathlib import Path

from accelerate.state import AcceleratorState, GradientState

from launchbay import UserError
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.errors import Elsewhere
from launchbay.launch.record import curves
from launchbay.launch.train import leave_processes, run

curves.draw_curves = lambda *_: None  # spares the drawing of curves.png, which takes most of the time of a short run

for argv in json.loads(Path(sys.argv[1]).read_text()):
    # accelerate keeps the precision and the accumulation of the run before.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    try:
        run(argv, Stop())
    except UserError as error:
        print(f"refused: {error.message}", flush=True)
    except Elsewhere:
        pass
leave_processes()
