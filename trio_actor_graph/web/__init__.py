"""The HTTP face of a coordinator: state, results, logs and events of its graphs, and new tasks.

`Coordinator.serve_http` serves it. Only data comes in: a function is a registered name, an argument
is JSON, and nothing is ever unpickled.
"""
