"""A run whose disk is full after its first epoch (a file size limit stands in for the disk); started by test_fit.py."""

import resource
import signal
import sys

import torch
from tests.engine.small import SmallNet, small_config, small_data

from saccade.engine.train.fit import fit
from saccade.errors import SaccadeError

if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model = SmallNet()
    steps = 0

    def fill(module: torch.nn.Module, arguments: object) -> None:
        global steps
        steps += module.training
        if steps == 15:  # in the second epoch
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    model.stem.register_forward_pre_hook(fill)
    try:
        fit(small_config(sys.argv[1]), model=model, data=small_data())
    except SaccadeError as error:
        print(error)
        sys.exit(3)
