"""Durable queues in one SQLite file."""
