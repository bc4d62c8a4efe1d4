"""Networks for salient object detection."""
