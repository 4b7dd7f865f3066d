"""How the attempts of a worker loop get run: in subprocess actors, or in the process itself."""
