"""A report's tables as text: Markdown, LaTeX, CSV, and plain text for a terminal."""

from pzsl.reports.formats.csv_files import compare_csv, runs_csv, table_csv
from pzsl.reports.formats.latex import latex
from pzsl.reports.formats.markdown import markdown
from pzsl.reports.formats.plain import plain

__all__ = ["compare_csv", "latex", "markdown", "plain", "runs_csv", "table_csv"]
