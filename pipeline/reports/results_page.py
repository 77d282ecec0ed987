"""The page of many runs: notes, tables and figures, for a sweep and for a comparison."""

from collections.abc import Mapping, Sequence

from pipeline.reports import pages


def page(
    title: str,
    lead: str,
    told: Sequence[str],
    tables: Mapping[str, Mapping[str, Sequence[object]]],
    figures: Mapping[str, tuple[str, str]],
    files: Sequence[str],
) -> str:
    """Return the HTML page.

    Args:
        title: of the page.
        lead: a sentence on its content.
        told: sentences that a reader should not miss.
        tables: the columns of each table by its title.
        figures: title and caption by the name of each file beside the page.
        files: the names of the files beside the page that hold the numbers.
    """
    return pages.render(
        "reports/results.html",
        styles=["reports/report.css"],
        title=title,
        lead=lead,
        told=told,
        tables=tables,
        figures=figures,
        files=files,
    )
