"""The conformance suite and a pytest plugin, for applications and for authors of drivers."""
