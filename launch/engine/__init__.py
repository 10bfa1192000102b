"""The training: one run, its steps, optimizers, evaluation, profiling. No particular task, no options to parse."""
