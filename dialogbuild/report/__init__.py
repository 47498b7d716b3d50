"""The page for people: where every input ended, what came out, and how good it is."""

from dialogbuild.report.page import write_report

__all__ = ["write_report"]
