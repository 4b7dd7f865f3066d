"""What a task costs, against peers that do the same work in the same run.

`python -m benchmarks` runs everything and prints tables with ratios and goals, with `--json` a JSON
document. How it is done, so that the comparison is fair:

- Each measurement is a fresh process of its own (`processes`), in its contender's own environment
  (`environments`): the peers' requirements would not fit into ours. All use the same interpreter.
- Each contender gets two worker processes, and the configuration in which it does best while it
  still does the same: one task for each piece of work, every result fetched to the client. Why
  something is done in a certain way is said in the contender's script (`peers`).
- Before anything is timed, both workers have run something and know the functions; except in
  `start`, which is about nothing else.
- Contenders take turns, and the median of the repeats counts, so that what else the machine does
  meets all alike (`running`). A ratio is always of two medians of the same run.
- What pure Python has to be worked is a fixed number of iterations, measured once by the runner and
  the same for all (`bodies.spin`).
"""
