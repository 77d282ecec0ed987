"""The page that shows a run: numbers, figures and the per-class table, without a network."""

from html import escape

from pipeline.evaluate import Evaluation

FIGURES = {
    "curves.png": "Training curves of teacher and student",
    "per_class_ap.png": "Test average precision by class",
    "score_histograms.png": "The teacher's scores of unobserved labels",
    "contact_sheet.png": "Training pictures and their labels",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 72rem;
       padding: 0 1rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
"""


def page(evaluation: Evaluation) -> str:
    """Return the HTML page; it shows the figures that lie beside it."""
    metrics = [[name, _cell(value)] for name, value in evaluation.metrics.items()]
    columns = evaluation.per_class
    rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    figures = "\n".join(
        f'<h2>{escape(title)}</h2>\n<p><img src="{name}" alt="{escape(title)}"></p>'
        for name, title in FIGURES.items()
    )
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Evaluation</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<h1>Evaluation</h1>\n<p>mAP and AP in percent on the test pictures; precision and "
        "recall of the added pseudo-labels, as shares, against the hidden truth.</p>\n"
        f"{_table(['metric', 'value'], metrics)}\n{figures}\n<h2>Classes</h2>\n"
        f"{_table(list(columns), rows)}\n</body>\n</html>\n"
    )


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"
