"""Published weights, one file a family; each has ``ROWS``. A file is found by being here."""
