"""A run that gets a signal in the middle of a step, as by ``kill -9`` or Ctrl-C; started by test_fit.py."""

import os
import sys

import torch
from tests.engine.small import SmallNet, small_config, small_data

from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step

if __name__ == "__main__":
    seed_step(0, -1)
    model = SmallNet()
    calls = 0

    def stop(module: torch.nn.Module, arguments: object) -> None:
        global calls
        calls += module.training
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), int(sys.argv[3]))

    model.stem.register_forward_pre_hook(stop)
    every = 4 if "--checkpoint-every-4" in sys.argv else None
    fit(small_config(sys.argv[1], checkpoint_every=every), model=model, data=small_data())
