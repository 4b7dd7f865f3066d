"""What the commands of `trio_actor_graph.__main__` do: find the graph to run, run it, and tell.

Nothing here imports trio, rich or the coordinator before there is something to run.
"""
