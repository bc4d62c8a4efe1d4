"""A search that is killed in the first epoch of its second trial; started by test_tune.py."""

import os
import signal
import sys
from pathlib import Path

import saccade
from saccade.engine.tune import trials

if __name__ == "__main__":
    see = trials._Watch.see

    def see_and_die(self, row):
        value = see(self, row)
        if self.trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    trials._Watch.see = see_and_die
    saccade.tune(Path(sys.argv[1]), space=["optimizer.lr=1e-4:1e-2:log"], trials=3, sampler="random", out=sys.argv[2])
