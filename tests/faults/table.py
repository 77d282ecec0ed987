"""Counts of outcomes as a Markdown table, and the bad ones in lines below it."""

import re
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows of counted outcomes.

    Attributes:
        title: what was tried.
        named: what the first columns of a row are.
        good: the outcomes that should be.
        bad: those that should not.
        cases: by what was seen, each bad case of it.
    """

    title: str
    named: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    rows: dict[tuple[str, ...], Counter[str]] = field(default_factory=dict)
    cases: dict[str, list[str]] = field(default_factory=dict)

    def count(self, row: tuple[str, ...], outcome: str, case: str, seen: str) -> None:
        """Count an outcome in a row; `case` says which it was, `seen` what it said."""
        assert outcome in self.good + self.bad, outcome
        self.rows.setdefault(row, Counter())[outcome] += 1
        if outcome in self.bad:
            # Process ids are in the names of temporary files.
            kind = f"{', '.join(row)}: {outcome}: {re.sub(r'[.]([0-9]+)[.]tmp', '.PID.tmp', seen)}"
            self.cases.setdefault(kind, []).append(case)

    @property
    def failed(self) -> int:
        """How many outcomes should not be."""
        return sum(len(cases) for cases in self.cases.values())

    def markdown(self, most: int = 200) -> str:
        """Return the table and its bad cases, at most so many kinds of them."""
        outcomes = self.good + self.bad
        lines = [
            f"## {self.title}",
            "",
            _line([*self.named, "tried", *outcomes]),
            _line(["---"] * len(self.named) + ["---:"] * (1 + len(outcomes))),
        ]
        total: Counter[str] = Counter()
        for row, counts in self.rows.items():
            total += counts
            lines.append(_line([*row, *_cells(counts, outcomes)]))
        lines.append(_line(["all"] + [""] * (len(self.named) - 1) + _cells(total, outcomes)))
        lines.append("")
        for kind, cases in list(self.cases.items())[:most]:
            lines.append(f"- {kind} ({len(cases)}: {'; '.join(cases[:3])})")
        if len(self.cases) > most:
            lines.append(f"- and {len(self.cases) - most} more kinds")
        return "\n".join(lines) + "\n"


def _cells(counts: Counter[str], outcomes: tuple[str, ...]) -> list[str]:
    return [str(sum(counts.values())), *(str(counts[name] or "") for name in outcomes)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
