"""Every network keeps the contract. A new model is tested by being registered (and by one line in members.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from tests.contract.hand_counts import REFERENCE, hand_counts
from tests.contract.members import IN_OTHER_RUNTIMES_OFTEN, MEMBERS

from saccade.analysis.counts import kept_counts
from saccade.analysis.summary import summary
from saccade.models.registry import get_builder, list_models
from saccade.tasks import get_task, list_tasks
from saccade.testing import CHECKS, Subject

BY_HAND = hand_counts()
EXPORTED = [member for member in MEMBERS if member.exported]
# These need no weights, so that all builders go through them, with their own defaults.
OF_ALL_BUILDERS = ("attributes", "parts_hold_every_parameter", "class_rows")
OF_ONE_SIZE = ("yolov1_fast", "maml_conv4", "siamese_koch")
ONLY_EXPORTED = ("torch_export", "runtime_formats")


def _applies(check: str, member: Subject) -> bool:
    if check == "boxes_by_falling_score":
        return {"boxes", "scores"} <= set(get_task(get_builder(str(member.builder)).task).decoded_keys)
    if check == "odd_size":
        return member.name not in OF_ONE_SIZE
    return check not in OF_ALL_BUILDERS and (member.exported or check not in ONLY_EXPORTED)


def _marks(check: str, member: Subject) -> list[pytest.MarkDecorator]:
    often = check != "runtime_formats" or member.name in IN_OTHER_RUNTIMES_OFTEN
    return [] if often else [pytest.mark.slow]


# Member by member, so that one network is in memory at a time.
CASES = [
    pytest.param(member, check, id=f"{check}-{member.name}", marks=_marks(check, member))
    for member in MEMBERS
    for check in CHECKS
    if _applies(check, member)
]


@pytest.fixture(scope="module")
def own_copy() -> Callable[[Subject], Subject]:
    """A member that is built once for its checks, and forgotten with the next one."""
    return functools.lru_cache(maxsize=1)(replace)


@pytest.fixture(scope="module")
def of_builder() -> Callable[[str], Subject]:
    """Each builder with its own defaults, once, without weights."""
    return functools.cache(Subject)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("member", "check"), CASES)
def test_member_keeps(member: Subject, check: str, own_copy: Callable[[Subject], Subject]) -> None:
    subject = own_copy(member)
    CHECKS[check](subject)
    assert not subject.model.training  # it is shared: checks that train it take a copy


@pytest.mark.parametrize("check", OF_ALL_BUILDERS)
@pytest.mark.parametrize("name", list_models())
def test_builder_keeps(name: str, check: str, of_builder: Callable[[str], Subject]) -> None:
    CHECKS[check](of_builder(name))


def test_every_family_has_a_member(of_builder: Callable[[str], Subject]) -> None:
    families = {type(of_builder(str(member.builder)).on_meta) for member in MEMBERS}
    for name in list_models():
        family = type(of_builder(name).on_meta)
        assert family in families, f"{name}: add a small member of {family.__name__} to tests/contract/members.py"
    exported = {type(of_builder(str(member.builder)).on_meta) for member in EXPORTED}
    assert exported == families
    assert {member.name for member in EXPORTED} >= IN_OTHER_RUNTIMES_OFTEN
    assert {get_builder(name).task for name in IN_OTHER_RUNTIMES_OFTEN} == set(list_tasks())


@pytest.mark.parametrize("name", list_models())
def test_parameters_and_multiply_adds(name: str, of_builder: Callable[[str], Subject]) -> None:
    expected = {**REFERENCE.get(name, {}), **BY_HAND.get(name, {})}
    assert {"num_classes", "params", "macs"} <= set(expected), (
        f"{name}: no counts; put them into tests/contract/hand_counts"
    )
    model = of_builder(name).on_meta
    assert model.num_classes == expected["num_classes"]
    figures = summary(model, input_size=expected.get("input"))
    assert figures.params == expected["params"]
    assert figures.macs == expected["macs"]
    if tuple(expected.get("input", ())[1:]) in ((), model.input_spec.size):
        assert kept_counts().get(name) == (figures.params, figures.macs), "run: python docs/models_table.py"
