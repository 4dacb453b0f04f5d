"""Reports: the printed summary, its tables and the one-page HTML report."""

from jaxlatent.report.html import report_html
from jaxlatent.report.summary import Summary, SummaryInfo, build_summary

__all__ = ["Summary", "SummaryInfo", "build_summary", "report_html"]
