"""What a network declares of itself: attributes, parts, rows of classes. No weights are needed, and nothing is run."""

from __future__ import annotations

from collections import Counter

from saccade.engine.train.optim import layers_of
from saccade.errors import ConfigError
from saccade.models.registry import get_builder
from saccade.structures.kinds import check_kinds
from saccade.tasks import get_task, list_tasks
from saccade.testing.comparing import attempt, require
from saccade.testing.subject import Subject

__all__ = ["check_attributes", "check_class_rows", "check_parts_hold_every_parameter"]


def check_attributes(subject: Subject) -> None:
    """Task, builder, input rules and keys are declared, and agree with each other.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5")
        >>> subject.on_meta.decoded_keys = ("probabilities", "mood")
        >>> check_attributes(subject)
        Traceback (most recent call last):
            ...
        AssertionError: decoded_keys name ['mood'], which classification does not know
    """
    with attempt("building on torch's meta device, as runs do to ask a network what it learns from,"):
        model = subject.on_meta
    require(model.task in list_tasks(), f"task is '{model.task}', none of {', '.join(list_tasks())}")
    require(model.builder_name, "builder_name is empty: put @register_model before the function that builds it")
    with attempt("finding the builder again by its builder_name"):
        entry = get_builder(model.builder_name)
    require(model.task == entry.task, f"task is '{model.task}', and it is registered for '{entry.task}'")
    if isinstance(subject.builder, str):
        require(model.builder_name == subject.builder, f"builder_name is '{model.builder_name}'")
    built_for = model.builder_args.get("num_classes", 0)  # a builder of networks without classes takes none
    require(built_for == model.num_classes, f"num_classes is {model.num_classes}, and it was built for {built_for}")
    spec = model.input_spec
    limits = spec.resize == "shorter_side"  # of the sides, and no canvas
    fits = limits or all(side % spec.pad_multiple == 0 for side in spec.size)
    require(fits, f"input_spec.size {spec.size} is no multiple of pad_multiple {spec.pad_multiple}")
    channels, strides = model.feature_channels, model.feature_strides
    require(len(channels) == len(strides) > 0, f"feature_channels {channels} and feature_strides {strides} do not pair")
    require(list(strides) == sorted(strides), f"feature_strides {strides} do not go from fine to coarse")
    task, keys = get_task(model.task), set(model.decoded_keys)
    missing, unknown = set(task.decoded_keys) - keys, keys - {*task.decoded_keys, *task.optional_keys}
    require(not missing, f"decoded_keys lack {sorted(missing)}, which every network for {task.name} gives")
    require(not unknown, f"decoded_keys name {sorted(unknown)}, which {task.name} does not know")
    require(model.target_names, "target_names are empty: name the kinds of ground truth that loss reads")
    with attempt("target_names"):
        check_kinds(model.target_names)
    with attempt("input_names"):
        check_kinds(model.input_names)
    require(model.stage_names, "stage_names are empty: name the parts from the stem to the last stage")
    require(model.head_names, "head_names are empty: name the parts that predict")


def check_parts_hold_every_parameter(subject: Subject) -> None:
    """Stages, necks, heads and auxiliary heads hold every parameter once; so do the layers of a falling learning rate.

    A part is the dotted name of a submodule or of a parameter, and has something to train.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5")
        >>> subject.on_meta.stage_names = ("c1", "c3", "c5")
        >>> check_parts_hold_every_parameter(subject)
        Traceback (most recent call last):
            ...
        AssertionError: no part holds the parameters f6.weight, f6.bias
    """
    model = subject.on_meta
    parameters = dict(model.named_parameters())
    parts = (*model.stage_names, *model.neck_names, *model.head_names, *model.auxiliary_heads)
    layers = [part for layer in layers_of(model) for part in layer]
    for kind, named in (("part", parts), ("layer", layers)):  # a rate that falls with depth goes by layers
        held = [(part, [key for key in parameters if key == part or key.startswith(f"{part}.")]) for part in named]
        for part, keys in held:
            require(keys, f"{kind} '{part}' has nothing to train or to freeze")
        counts = Counter(key for _, keys in held for key in keys)
        missing = [key for key in parameters if not counts[key]]
        twice = [key for key in parameters if counts[key] > 1]
        require(not missing, f"no {kind} holds the parameters {', '.join(missing)}")
        require(not twice, f"more than one {kind} holds the parameters {', '.join(twice)}")


def check_class_rows(subject: Subject) -> None:
    """``class_rows`` names exactly the tensors whose shape follows the number of classes, with their layout.

    A network that cannot have other classes refuses to be built for them.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.

    Example:
        >>> subject = Subject("lenet5")
        >>> subject.on_meta.class_rows = {"output.weight": subject.on_meta.class_rows["output.weight"]}
        >>> check_class_rows(subject)
        Traceback (most recent call last):
            ...
        AssertionError: class_rows lacks output.bias, whose shape follows the number of classes
    """
    model = subject.on_meta
    own, rows = model.state_dict(), model.class_rows
    heads = tuple(f"{head}." for head in (*model.head_names, *model.auxiliary_heads))
    for key, layout in rows.items():
        require(key in own, f"class_rows names '{key}', which is no tensor of the network")
        require(f"{key}.".startswith(heads), f"class_rows names '{key}', which belongs to no head")
        found = layout.num_classes(own[key])
        require(
            found == model.num_classes, f"'{key}' has rows of {found} classes by class_rows, of {model.num_classes}"
        )
    more = model.num_classes + 3
    if model.num_classes == 0:
        require(not rows, f"class_rows names {', '.join(rows)}, and the network has no classes")
        return
    if not rows:
        try:
            subject.create_on_meta(num_classes=more)
        except ConfigError as error:
            message = f"the refusal of {more} classes does not speak of classes: {error}"
            require("classes" in str(error), message)
            return
        raise AssertionError("class_rows is empty, and yet the network is built for other classes")
    with attempt(f"building it for {more} classes"):
        wider_model = subject.create_on_meta(num_classes=more)
    wider = wider_model.state_dict()
    require(set(wider) == set(own), f"with other classes it has other tensors: {sorted(set(wider) ^ set(own))}")
    changed = {key for key in own if own[key].shape != wider[key].shape}
    unnamed = sorted(changed - set(rows))
    require(not unnamed, f"class_rows lacks {', '.join(unnamed)}, whose shape follows the number of classes")
    for key, layout in rows.items():
        require(key in changed, f"class_rows names '{key}', whose shape does not follow the number of classes")
        found = layout.num_classes(wider[key])
        require(found == more, f"'{key}', built for {more} classes, has rows of {found} by class_rows")
        require(
            layout.matches(own[key], wider[key]), f"'{key}' differs between numbers of classes in more than its rows"
        )
