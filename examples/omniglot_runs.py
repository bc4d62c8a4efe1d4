"""The 20 official runs of 20-way one-shot classification of Omniglot, by any network for embeddings.

python examples/omniglot_runs.py --model runs/siamese_koch_omniglot    # checkpoint or folder of a run

A run has a drawing of each of 20 characters of one alphabet, and 20 drawings by somebody else; each of these gets the
character of the nearest of the first. Lake et al. 2015; people err in 4.5 %, Koch's network in 8 % (Koch et al. 2015).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import saccade
from saccade.data.catalogue.catalogue import locate
from saccade.data.readers.omniglot import OneShotRun, read_one_shot_runs
from saccade.models.base import Model
from saccade.results.embedding import Embedding


def accuracy(model: Model | str, run: OneShotRun) -> float:
    """Share of the test drawings whose nearest training drawing is of their character."""
    results = saccade.predict(model, [*run.training, *run.test], batch_size=40)
    embeddings = [result for result in results if isinstance(result, Embedding)]
    characters, asked = embeddings[: len(run.training)], embeddings[len(run.training) :]
    right = 0
    for drawing, label in zip(asked, run.labels.tolist(), strict=True):
        nearest = min(range(len(characters)), key=lambda index: drawing.distance(characters[index]))
        right += nearest == label
    return right / len(asked)


def score(model: Model | str, runs: Sequence[OneShotRun]) -> float:
    """Mean accuracy, and that of each run."""
    print("| run | accuracy |\n|---|---:|")
    shares = []
    for run in runs:
        shares.append(accuracy(model, run))
        print(f"| {run.name} | {100 * shares[-1]:.0f} % |", flush=True)
    mean = sum(shares) / len(shares)
    print(f"| mean of {len(shares)} | {100 * mean:.1f} % |")
    return mean


def main(out: Path) -> float:
    """A quick try on two runs by a network that has learnt nothing; the command line asks for more."""
    return score(saccade.create_model("protonet_conv4"), read_one_shot_runs(locate("omniglot"))[:2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    score(parser.parse_args().model, read_one_shot_runs(locate("omniglot")))
