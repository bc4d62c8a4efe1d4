"""Tables of published weights, one file a family, each with ``ROWS``; every module of this folder is one."""
