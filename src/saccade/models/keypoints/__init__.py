"""Networks for keypoints."""
