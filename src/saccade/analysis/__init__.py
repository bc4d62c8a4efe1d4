"""Analysis of networks: parameter and multiply-add counts, layer tables, receptive fields, explanations."""

from __future__ import annotations

from saccade.analysis.summary import StageRow, Summary, SummaryRow, summary

__all__ = ["StageRow", "Summary", "SummaryRow", "summary"]
