"""Find the params that the results of a run depend on.

Old runs may lack a newer key, or the section that both trainings share. So nothing is checked
here. The Params classes of the sections define which keys are used.
"""

from pipeline.core.params import Params, Values, merged, unused_keys, without
from pipeline.datasets.prepare import PrepareParams
from pipeline.inference.score import ScoreParams
from pipeline.training.generations import StudentParams
from pipeline.training.teachers import TrainTeacherParams
from pipeline.training.train import TrainParams

# The sections where some keys may be unused. A run may lack a section.
SECTIONS: dict[str, type[Params]] = {
    "prepare": PrepareParams,
    "train_teacher": TrainTeacherParams,
    "score": ScoreParams,
    "train_student": StudentParams,
}
SHARED, _ = TrainParams.shared or ("", Params)


def by_training(values: Values) -> Values:
    """Return the sections with shared values copied to both trainings: "train_teacher.fit.lr"."""
    own = {name: section for name, section in values.items() if name != SHARED}
    for name, kind in SECTIONS.items():
        if kind.shared is not None and isinstance(own.get(name), dict):
            own[name] = merged(values, name, SHARED)
    return own


def by_training_key(key: str) -> list[str]:
    """Return the names of a key of params.yaml in the sections that `by_training` returns."""
    section, _, rest = key.partition(".")
    trainings = [name for name, kind in SECTIONS.items() if kind.shared is not None]
    if section == SHARED:
        return [f"{name}.{rest}" for name in trainings]
    own = section in trainings and rest.startswith(f"{SHARED}.")
    return [f"{section}.{rest.removeprefix(f'{SHARED}.')}"] if own else [key]


def used(values: Values) -> Values:
    """Return the sections as of `by_training`, without the keys that no result depends on."""
    own = by_training(values)
    return without(own, unused(own))


def unused(values: Values) -> set[str]:
    """Return the dotted keys that no result depends on, of sections as of `by_training`."""
    return {
        f"{name}.{key}"
        for name, kind in SECTIONS.items()
        if isinstance(values.get(name), dict)
        for key in unused_keys(kind, values[name])
    }


def put(sections: Values, changes: Values) -> Values:
    """Set keys, given as "section.key", and return the sections. Absent sections are made."""
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = sections
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return sections
