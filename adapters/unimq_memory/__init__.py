"""In-process queues: the reference of the contract."""
