"""Paper tables and figures: reads what runs left on disk, never trains."""

from lightning_marlhf.reporting.compare import compare_runs
from lightning_marlhf.reporting.paper import build_paper_report
from lightning_marlhf.reporting.report import build_report

__all__ = ["build_paper_report", "build_report", "compare_runs"]
