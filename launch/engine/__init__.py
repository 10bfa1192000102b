"""The training: steps, schedules, evaluation, and one run from start to end. No concrete task, no terminal."""
