"""Tasks from outside the package; a whole one is built by docs/add_a_task.md."""

from __future__ import annotations

from typing import Any

import pytest

from saccade import tasks
from saccade.errors import ConfigError
from saccade.tasks import get_task, list_tasks, register_task
from saccade.tasks.base import Task


class _Counting(Task):
    name = "counting"
    decoded = {"counts": "BC"}  # noqa: RUF012
    target_kinds = ("boxes",)

    def results(self, decoded: Any, infos: Any, class_names: Any) -> list[Any]:
        raise NotImplementedError

    def from_target(self, target: Any, info: Any, class_names: Any) -> Any:
        raise NotImplementedError

    def evaluator(self, data: Any, decoded_keys: Any = ()) -> Any:
        raise NotImplementedError


def test_a_registered_task_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_REGISTERED", {})
    with pytest.raises(ConfigError, match="unknown task 'counting'"):
        get_task("counting")
    register_task(_Counting())
    register_task(task := _Counting())  # a module that is imported again
    assert get_task("counting") is task
    assert "counting" in list_tasks()
    with pytest.raises(ConfigError, match="Did you mean 'counting'"):
        get_task("countin")


def test_tasks_of_the_package_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Counting, "name", "detection")
    with pytest.raises(ConfigError, match="'detection' is a task of the package"):
        register_task(_Counting())
