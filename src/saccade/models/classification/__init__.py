"""Networks for classification."""
