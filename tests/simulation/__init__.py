"""Simulation: the coordinator as it is, with simulated workers, on a clock that jumps.

Everything that decides is the real thing: public handles, coordinator, core. Only the engine is
replaced, by one whose workers are state machines that live, answer late, hang and die as a seed
says. A thousand seconds of that take some milliseconds, and a seed gives the same run again.

    scripts   what a simulated task does: data that travels in its arguments
    faults    what befalls workers and messages, drawn from a seed
    plans     random graphs, and what the app does with them, drawn from a seed
    worker    a worker's side of the protocol
    engine    time, links, and the deaths of workers
    history   what truly happened to each attempt, and rules that must hold while it happens
    verdict   what must be true when all is over, told without the scheduler
    world     one run of one seed
"""
