"""Tiles and test-time augmentation from the command line: what is asked for reaches the library, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from saccade.cli._arguments import parse
from saccade.cli.evaluate import EvaluateArguments
from saccade.cli.predict import PredictArguments
from saccade.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--overlap 0.5 --tta-scales 1 2", {}),
        ("--tile 640", {"tile": 640, "overlap": 0.2}),
        ("--tile 640 --overlap 0.5", {"tile": 640, "overlap": 0.5}),
        ("--tta", {"augment": True, "scales": (1.0,), "flip_pairs": ()}),
        (
            "--tta --tta-scales 0.83 1 --flip-pairs 0 1 2 3",
            {"augment": True, "scales": (0.83, 1.0), "flip_pairs": ((0, 1), (2, 3))},
        ),
    ],
)
def test_what_is_asked_for_is_passed_on(words: str, expected: dict[str, Any]) -> None:
    predict = parse(PredictArguments, ["--model", "m", "--source", "s", *words.split()], "predict")
    evaluate = parse(EvaluateArguments, ["--model", "m", *words.split()], "evaluate")
    assert predict.options() == evaluate.options() == expected
    assert (predict.model, predict.source, evaluate.model) == ("m", "s", "m")


def test_a_slip_of_the_pen_is_answered() -> None:
    with pytest.raises(ConfigError, match="unknown option '--tiles'"):
        parse(PredictArguments, ["--model", "m", "--source", "s", "--tiles", "640"], "predict")
