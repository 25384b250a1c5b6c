"""Chaos: real nodes, real clients, a nemesis and a judge; `make chaos`, and a short run of it in the suite.

`run.py` puts it together. The nodes serve `tools.py`; `load.py` calls them and keeps the book of what it was told;
`nemesis.py` does harm through `field.py`, which also undoes it; `judge.py` compares effects, log and answers;
`linearizable.py` checks the histories of registers and counters; `report.py` says it all in a page.
"""
