"""Paper tables and figures: reads what runs left on disk, never trains."""

from lightning_marlhf.reporting.report import build_report

__all__ = ["build_report"]
