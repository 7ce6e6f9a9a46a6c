"""A run as a page: what it found, and why, in one HTML file that needs nothing else."""

from datainf.report.report import TOP, write_report

__all__ = ["TOP", "write_report"]
