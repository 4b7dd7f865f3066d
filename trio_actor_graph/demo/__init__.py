"""The program behind `trio-actor-graph demo`; `words` is the part to read."""
