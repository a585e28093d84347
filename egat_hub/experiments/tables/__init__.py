"""Tables of many runs, with published figures beside, in Markdown, LaTeX and CSV."""

from egat_hub.experiments.tables.published import Published
from egat_hub.experiments.tables.report import Report, Section, report
from egat_hub.experiments.tables.table import Entry, Table

__all__ = ["Entry", "Published", "Report", "Section", "Table", "report"]
