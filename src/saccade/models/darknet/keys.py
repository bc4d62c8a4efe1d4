"""Keys that the sections of a ``.cfg`` may have, so that one with a typing error is not passed over in silence.

Those that decide a network, its decoding or its loss are read by the modules beside this one. The others belong to
Darknet's own training, to its devices or to its windows; they decide nothing here, and no word is said about them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from saccade.errors import did_you_mean
from saccade.models.darknet.cfg import Section
from saccade.structures.text import printable

__all__ = ["KEYS", "warn_of_unknown_keys"]

logger = logging.getLogger("saccade")

_EVERY = (  # layer, whatever its kind
    "burnin_update clip dont_update dontload dontloadscales dontsave learning_rate numload onlyforward smooth "
    "stopbackward train_only_bn truth"
)
_NET = (
    "B1 B2 adam adversarial_lr angle aspect attention augment_speed badlabels_rejection_percentage batch blur burn_in "
    "center channels contrastive contrastive_color contrastive_jit_flip cutmix decay dynamic_minibatch ema_alpha eps "
    "equidistant_point exposure flip gamma gaussian_noise height hue inputs label_smooth_eps learning_rate "
    "learning_rate_min letter_box loss_scale max_batches max_chart_loss max_crop max_ratio min_crop min_ratio mixup "
    "momentum mosaic mosaic_bound notruth num_sigmas_reject_badlabels optimized_memory policy power random resize_step "
    "saturation scale scales seq_scales sequential_subdivisions sgdr_cycle sgdr_mult show_receptive_field step steps "
    "subdivisions time_steps track try_fix_nan unsupervised use_cuda_graph weights_reject_freq width "
    "workspace_size_limit_MB"
)
_SECTIONS = {
    "net": _NET,
    "network": _NET,
    "convolutional": (
        "activation angle antialiasing assisted_excitation batch_normalize bin_output binary cbn coordconv dilation "
        "dot filters flipped grad_centr groups pad padding reverse rotate share_index size stream stretch "
        "stretch_sway stride stride_x stride_y sway wait_stream xnor"
    ),
    "maxpool": "antialiasing maxpool_depth maxpool_zero_nonmax out_channels padding size stride stride_x stride_y",
    "route": "group_id groups layers stream wait_stream",
    "shortcut": "activation from weights_normalization weights_type",
    "reorg": "extra flatten reverse stride",
    "reorg3d": "extra flatten reverse stride",
    "upsample": "scale stride",
    "avgpool": "",
    "connected": "activation batch_normalize output",
    "local": "activation filters pad size stride",
    "dropout": "dropblock dropblock_size_abs dropblock_size_rel probability",
    "scale_channels": "activation from scale_wh",
    "sam": "activation from",
    "crop": "angle crop_height crop_width exposure flip noadjust saturation shift",
    "softmax": "groups noloss spatial temperature tree",
    "cost": "ratio scale type",
    "region": (
        "absolute anchors background bias_match class_scale classes classfix coord_scale coords focal_loss jitter log "
        "map mask_scale max noobject_scale num object_scale random rescore resize softmax sqrt thresh tree"
    ),
    "yolo": (
        "anchors beta_nms classes cls_normalizer coords counters_per_class delta_normalizer dets_for_show "
        "dets_for_track embedding_layer focal_loss ignore_thresh iou_loss iou_normalizer iou_thresh iou_thresh_kind "
        "jitter label_smooth_eps map mask max max_delta new_coords nms_kind num obj_normalizer objectness_smooth "
        "random resize scale_x_y show_details sim_thresh track_ciou_norm track_history_size truth_thresh"
    ),
    "detection": (
        "class_scale classes coord_scale coords forced jitter max noobject_scale num object_scale random reorg rescore "
        "resize side softmax sqrt"
    ),
}
KEYS = {kind: frozenset((keys if keys is _NET else f"{keys} {_EVERY}").split()) for kind, keys in _SECTIONS.items()}
"""Known keys of each kind of section."""

_told: deque[int] = deque(maxlen=64)  # texts of which it was said


def warn_of_unknown_keys(text: str, sections: Sequence[Section], file: str = "") -> None:
    r"""Log a warning about each key that its section does not know, once for a text.

    Args:
        text: Content of the file.
        sections: Its sections.
        file: Name of the file, if there is one.

    Example:
        >>> import sys
        >>> from saccade.models.darknet.cfg import parse_cfg
        >>> text = "[net]\nwidth=32\nlearning_rate=0.1\n[convolutional]\nfiltres=8"
        >>> handler = logging.StreamHandler(sys.stdout)
        >>> logging.getLogger("saccade").addHandler(handler)
        >>> warn_of_unknown_keys(text, parse_cfg(text))
        cfg, line 5: [convolutional] knows no key 'filtres', which is ignored. Did you mean 'filters'?
        >>> logging.getLogger("saccade").removeHandler(handler)
    """
    if hash(text) in _told:
        return
    _told.append(hash(text))
    for section in sections:
        for key, (_, line) in section.values.items():
            if key in KEYS[section.kind]:
                continue
            near = did_you_mean(key, KEYS[section.kind])
            logger.warning(
                "%scfg, line %d: [%s] knows no key '%s', which is ignored.%s",
                f"'{printable(file)}': " if file else "",
                line,
                section.kind,
                printable(key, limit=60),
                near if near.startswith(" Did you mean") else "",
            )
