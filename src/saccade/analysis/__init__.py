"""What a network is made of and what it costs."""

from __future__ import annotations

from saccade.analysis.summary import StageRow, Summary, SummaryRow, summary

__all__ = ["StageRow", "Summary", "SummaryRow", "summary"]
