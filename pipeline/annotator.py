"""What it says of a class that the annotator, who named a few that are there, did not name it."""

import numpy as np

from pipeline.arrays import Probs, Targets

CHUNK = 4096  # pictures at a time, which bounds the memory


def given_named(probs: Probs, targets: Targets) -> Probs:
    """Return P(class | picture, what was named), where probs are P(class | picture).

    The annotator names n of the classes that are there, every choice being as likely. With S
    more that are there, a given choice has the chance 1 / binom(n + S, n): the more there is,
    the less likely is just this one. So of a class that was not named the odds are multiplied by

        E[1 / binom(n + 1 + S, n)] / E[1 / binom(n + S, n)],

    S being the number of the other classes that are there and not named, and classes being
    independent given the picture. One label, and surely nothing else there: odds times 1/2.

    By 1 / binom(n + S, n) = n integral of t^S (1 - t)^(n - 1) dt over 0..1 both expectations are
    integrals of E[t^S], the product of 1 - p + p t over the other classes: polynomials, which
    Gauss and Legendre's quadrature integrates exactly.

    Args:
        probs: (N, C) probabilities. A mean over what the annotator may name gives them back,
            so a student of the result learns them: without the step it learns higher ones.
        targets: (N, C) what the annotator saw; the observed are returned as they are, and so
            are all of a picture in which nothing was named.

    Returns:
        (N, C) float32, none higher than before.
    """
    conditioned = [
        _given_named(probs[at : at + CHUNK], targets[at : at + CHUNK])
        for at in range(0, len(probs), CHUNK)
    ]
    return np.concatenate(conditioned)


def _given_named(probs: Probs, targets: Targets) -> Probs:
    unknown = targets == 0
    # What was observed is there, or not, for sure, and adds nothing to S.
    p = np.where(unknown, probs.astype(np.float64), 0)
    n_named = (targets == 1).sum(axis=1, keepdims=True)
    nodes, weights = np.polynomial.legendre.leggauss((probs.shape[1] + 1) // 2)
    one_more, as_it_is = np.zeros_like(p), np.zeros_like(p)
    for t, weight in zip((nodes + 1) / 2, weights, strict=True):
        factors = 1 - p * (1 - t)
        others = np.exp(np.log(factors).sum(axis=1, keepdims=True) - np.log(factors))
        density = weight * (1 - t) ** np.maximum(n_named - 1, 0) * others
        one_more += t * density
        as_it_is += density
    ratio = np.where(n_named > 0, one_more / as_it_is, 1)
    moved = p * ratio / (p * ratio + 1 - p)
    return np.where(unknown, moved, probs).astype(np.float32)
