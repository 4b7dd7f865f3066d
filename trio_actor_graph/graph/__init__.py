"""The pure core: what a task graph is, and what happens next.

Nothing below this folder waits, draws random numbers, reads a clock, logs or touches the
outside. State changes only through the `on_*` methods of `scheduler.Scheduler`; what has to be
done about it comes out as `commands`. A test is therefore a list of calls and a list of expected
commands.
"""
