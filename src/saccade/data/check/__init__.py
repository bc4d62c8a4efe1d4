"""Checks of a data set before training: broken images, faulty labels, leaks between splits."""

from saccade.data.check.report import CheckReport, Issue, SplitStatistics
from saccade.data.check.run import check_dataset, check_source

__all__ = ["CheckReport", "Issue", "SplitStatistics", "check_dataset", "check_source"]
