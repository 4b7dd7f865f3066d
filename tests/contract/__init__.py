"""Contract: whatever runs a worker loop's tasks keeps the promises of the public names.

Every story here is told to each engine: subprocesses, and the coordinator's own process. The few
that need a process of their own (a plain function can only be stopped by killing it) ask for the
fixture `process_engine`.
"""
