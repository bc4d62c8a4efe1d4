"""A network whose canvas follows the image trains and evaluates at batch 8, and batch mates never matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.data.loading.test_collate import Scenes

from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.predict.predict import predict
from saccade.engine.train.config import DataConfig, OptimizerConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.models.checkpoint import load_model
from saccade.models.registry import create_model


def test_shorter_side_trains_and_evaluates_at_batch_8(tmp_path: Path) -> None:
    data = Scenes()
    model = create_model("yolox_nano", num_classes=len(data.info.class_names), depthwise=False)
    model.class_names = data.info.class_names
    model.input_spec = replace(model.input_spec, size=(64, 128), resize="shorter_side")
    config = TrainConfig(
        name="sides",
        model="yolox_nano",
        data=DataConfig(source="scenes", batch_size=8, workers=0),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3),
        epochs=2,
        precision="32",
        out=str(tmp_path),
    )
    result = fit(config, model=model, data=Datasets(data, data))
    assert np.isfinite(result.history[-1]["train/loss"])
    runtime = EagerRuntime(load_model(result.model_path))
    assert runtime.input_spec.resize == "shorter_side"
    together, alone = evaluate(runtime, data, batch_size=8), evaluate(runtime, data, batch_size=1)
    assert together.values == pytest.approx(alone.values, nan_ok=True, abs=1e-6)
    images = [data.read(index).image for index in range(len(data))]
    for first, second in zip(predict(runtime, images, 8), predict(runtime, images, 1), strict=True):
        np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, atol=1e-2)
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)
