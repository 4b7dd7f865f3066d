"""What runs inside a worker process. It never imports the coordinator, so that it starts light."""
