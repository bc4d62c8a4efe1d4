"""One of the processes that torchrun starts in test_fit.py."""

import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tests.engine.small import SmallNet, small_config, small_data

from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step

if __name__ == "__main__":
    seed_step(0, -1)
    model = SmallNet()
    if "--stop" in sys.argv:
        steps = 0

        def stop(module: torch.nn.Module, arguments: object) -> None:
            global steps
            steps += module.training
            if steps == 4 and module.training and dist.get_rank() == 1:
                signal.raise_signal(signal.SIGTERM)

        model.stem.register_forward_pre_hook(stop)
        try:
            fit(small_config(sys.argv[1]), model=model, data=small_data())
        except KeyboardInterrupt as stopped:
            name = Path(sys.argv[1]) / f"stopped{dist.get_rank()}"
            name.write_text(type(stopped).__name__)
            sys.exit(0)
    result = fit(small_config(sys.argv[1], epochs=6), model=model, data=small_data(1000, 101))
    assert result.report is not None
    images = round(sum(row["images"] for row in result.report.per_class))
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    torch.save(
        {"parameters": parameters, "metrics": result.metrics, "images": images},
        Path(sys.argv[1]) / f"rank{dist.get_rank()}.pt",
    )
    dist.destroy_process_group()
