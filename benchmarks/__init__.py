"""What a task costs, against peers that do the same work in the same run.

`python -m benchmarks` prints a table, with `--json` a JSON document. Each measurement runs in a
fresh process, two worker processes each; contenders take turns, and the median of the repeats
counts, so that what else the machine does meets all alike.
"""
