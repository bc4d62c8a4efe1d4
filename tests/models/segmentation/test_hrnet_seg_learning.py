from __future__ import annotations

import pytest
from tests.models.segmentation.overfit import overfits_four_people


@pytest.mark.data("human_segmentation")
def test_hrnet_overfits_four_photographs(data_root):
    overfits_four_people(data_root, "hrnet_w18_small_seg", {"num_classes": 2}, size=96)
