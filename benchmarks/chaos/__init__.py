"""Random graphs under random faults, on real workers, judged from outside.

`python -m benchmarks.chaos` opens graph after graph while workers are killed, stopped, terminated
and cut off, tasks and graphs are cancelled, and task bodies hang, crash and kill their own process.
Whatever the app and the task bodies see is written down (`history`), and afterwards a checker that
shares no code with the scheduler (`checker`) looks for tasks that were lost, run or answered twice,
or that ended in a way nothing explains. The same run is then repeated with bugs planted on purpose
(`planted`), each of which the checker must catch; else its silence would prove nothing.

    model     plans of tasks and graphs, and the values they must compute        pure
    graphs    random plans, from a seed                                          pure
    history   what was written down, line by line, and read back                 pure
    checker   the rules                                                          pure
    measure   faults that bit, times of detection and recovery                   pure
    bodies    what runs in the workers
    faults    who sends the signals, and cuts the links
    program   the program under test, in a process of its own
    planted   three bugs
    stops     small programs that are left or killed, and how long it takes
    report    the table
"""
