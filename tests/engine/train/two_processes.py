"""One of the processes that torchrun starts in test_fit.py."""

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
    result = fit(small_config(sys.argv[1], epochs=6), model=model, data=small_data(1000, 101))
    assert result.report is not None
    images = round(sum(row["images"] for row in result.report.per_class))
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    torch.save(
        {"parameters": parameters, "metrics": result.metrics, "images": images},
        Path(sys.argv[1]) / f"rank{dist.get_rank()}.pt",
    )
    dist.destroy_process_group()
