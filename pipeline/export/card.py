"""The model card, README.md: what the model is, how it was trained, and how to load it."""

import jinja2

from pipeline.artifacts.spec import Spec
from pipeline.core.errors import printable
from pipeline.export.origin import Origin

NOT_KNOWN = "not known"
FEW_POSITIVES = 10


def _cell(value: object) -> str:
    """Write a value into a cell of a Markdown table."""
    if value is None or value == "":
        return NOT_KNOWN
    text = f"{value:.4g}" if isinstance(value, float) else printable(str(value))
    for character in "\\|`*[]<>":
        text = text.replace(character, f"\\{character}")
    return text


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("pipeline", "export"),
    autoescape=False,  # Markdown: `_cell` escapes all that comes from outside
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["cell"] = _cell


def text(spec: Spec, origin: Origin, hub_name: str | None, form: str, code: str) -> str:
    """Return the card in Markdown.

    Args:
        spec: the model's description.
        origin: what is known of its training.
        hub_name: the name under which a hub lists the model, or None.
        form: a sentence on the files, the input and the output.
        code: Python that loads the model and scores an image.
    """
    tested = {name: (positives, ap) for name, positives, ap in origin.per_class}
    few = [name for name, (count, _) in tested.items() if int(count) < FEW_POSITIVES]
    return _TEMPLATES.get_template("model_card.md.jinja").render(
        spec=spec, note=origin.note, hub_name=hub_name, form=form, code=code,
        facts=_facts(spec, origin), rows=_rows(spec, tested), few=", ".join(few),
    )  # fmt: skip


def _facts(spec: Spec, origin: Origin) -> dict[str, object]:
    metrics = origin.metrics
    facts: dict[str, object] = {
        "role": spec.role,
        "backbone": spec.backbone,
        "data": origin.data,
        "observed labels": origin.observed,
        "loss": origin.loss,
    }
    if spec.role == "student":
        facts |= {"loss of its teacher": origin.teacher_loss, "label rule": origin.rule}
    return facts | {
        "training": origin.training,
        "test mAP (%)": metrics.get("mAP"),
        "its 95 % interval": _interval(metrics.get("mAP_low"), metrics.get("mAP_high")),
        "val mAP (%)": metrics.get("val_mAP"),
    }


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _rows(spec: Spec, tested: dict[str, tuple[str, str]]) -> list[tuple[object, ...]]:
    """Return a row per class: name, threshold, a, b, positives in val and in test, AP."""
    decided: list[tuple[object, ...]] = [(None,) * 4] * len(spec.classes)
    if spec.decisions:
        found = spec.decisions
        pairs = zip(found.thresholds, found.calibration, found.val_positives, strict=True)
        decided = [(threshold, *pair, count) for threshold, pair, count in pairs]
    unknown = (None, None)
    rows = zip(spec.classes, decided, strict=True)
    return [(name, *values, *tested.get(name, unknown)) for name, values in rows]
