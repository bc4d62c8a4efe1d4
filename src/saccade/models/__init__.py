"""Networks: one file a paper, named by the paper."""
