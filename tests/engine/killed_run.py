"""A run that is killed in the middle of a step, as by ``kill -9``; started by test_fit.py."""

import os
import signal
import sys

import torch
from tests.engine.small import SmallNet, small_config, small_data

from saccade.engine.fit import fit
from saccade.engine.seeding import seed_step

if __name__ == "__main__":
    seed_step(0, -1)
    model = SmallNet()
    calls = 0

    def kill(module: torch.nn.Module, arguments: object) -> None:
        global calls
        calls += module.training
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

    model.stem.register_forward_pre_hook(kill)
    fit(small_config(sys.argv[1], checkpoint_every=4), model=model, data=small_data())
