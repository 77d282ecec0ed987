"""Tries what disks, kills and damage do to a run: `python -m tests.faults`.

kills: `dvc repro` is killed at seeded moments and run again. calls: the n-th write, fsync, rename
or open of a stage fails, for n = 1, 2, ... damage: every artifact and every kept file is flipped,
cut, emptied and swapped. Each prints a table, and what its columns say is told where it is made:
kills.table, calls.table, damage.table. All of it takes hours; `--help` tells how to do less.
"""
