"""`python -m unimq.cli` is `unimq`."""

from unimq.cli import main

main()
