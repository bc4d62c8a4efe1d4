"""The contract suite: checks that any network can be held against, ours and those of others.

``check_model("my_package.my_module:my_builder")`` runs them all; ``CHECKS`` holds them by name, for one test a check.
"""

from saccade.testing.subject import Subject
from saccade.testing.suite import CHECKS, check_model

__all__ = ["CHECKS", "Subject", "check_model"]
