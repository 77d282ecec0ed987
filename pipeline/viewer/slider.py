"""The slider of the page: the scores that the file's rule compares with tau, whatever tau is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from pipeline.artifacts.run import RunTables
from pipeline.artifacts.tables import PseudoLabels
from pipeline.core.arrays import BoolMatrix, Probs, RowNumbers
from pipeline.core.errors import InputError
from pipeline.pseudo_labels.rules import (
    Applied,
    PseudoLabelParams,
    at_tau,
    compared,
    corrected,
    evidence_of,
    needs_val_scores,
    params_of,
)
from pipeline.viewer.encoding import bits


class SliderData(TypedDict):
    """What a browser needs to apply the rule at another tau; labels.js does.

    Attributes:
        above: the number that every valid tau exceeds; None: 0 is valid, too.
        width: the width of a band rule; None for other rules.
        confidence: whether entries are weighted by confidence: it is 0 for entries that top_k
            leaves out, and at a score of tau.
        keep_observed: whether observed labels stay at any score.
        eligible: (n, C) bits, the entries that may become labels; "": all.
    """

    above: float | None
    width: float | None
    confidence: bool
    keep_observed: bool
    eligible: str


@dataclass(frozen=True)
class Slider:
    """The slider of a pseudo-label file of N images and C classes.

    Attributes:
        scores: (N, C) the scores that the rule compares with tau; the teacher's if tau is fixed.
        params: the settings of the rule; None if tau is fixed.
        eligible: (N, C) the entries that may become labels; None: all.
        fixed: a sentence on why tau is fixed; "" if it is not.
    """

    scores: Probs
    params: PseudoLabelParams | None = None
    eligible: BoolMatrix | None = None
    fixed: str = ""

    def data(self, shown: RowNumbers) -> SliderData | None:
        """Return the data of these rows for the page; None if tau is fixed."""
        if self.params is None:
            return None
        return {
            "above": self.params.tau_above,
            "width": self.params.width if self.params.rule == "band" else None,
            "confidence": self.params.weights == "confidence",
            "keep_observed": self.params.keep_observed,
            "eligible": "" if self.eligible is None else bits(self.eligible[shown]),
        }


def slider(file: Path, tables: RunTables) -> Slider:
    """Return the slider of a pseudo-label file.

    tau is fixed if the file's rule and these scores do not give exactly the labels in the file,
    or if the rule cannot be applied.

    Args:
        file: the pseudo-label file; messages show only its name.
        tables: the tables of the run, with the pseudo-labels of the file.
    """
    index, scores, pseudo = tables.index, tables.scores, tables.pseudo
    try:
        params = params_of(Path(file.name), pseudo.rule, "it takes a rule of this pipeline")
        if needs_val_scores(params) and tables.val_scores is None:
            raise InputError("calibrate isotonic needs val_scores.parquet, which is missing")
        evidence = evidence_of(params, index, scores, tables.val_scores)
        found = compared(params, evidence)
        applied = corrected(at_tau(params, found, evidence.targets), pseudo.answers)
    except InputError as error:
        return Slider(scores.probs, fixed=f"tau cannot be moved: {error}.")
    if differ := _n_differ(applied, pseudo):
        return Slider(
            scores.probs,
            fixed=f"tau cannot be moved: {differ:,} of the {pseudo.labels.size:,} entries in the "
            f"file differ from what its rule gives on scores.parquet.",
        )
    return Slider(found.scores, params, found.eligible)


def _n_differ(applied: Applied, pseudo: PseudoLabels) -> int:
    """Count the entries that are labels, or ignored, in only one of the two."""
    ignored = np.zeros_like(applied.labels) if applied.weights is None else applied.weights == 0
    return int(((applied.labels != pseudo.labels) | (ignored != pseudo.ignored)).sum())
