"""`python -m unimq` is `unimq`."""

from unimq.cli import main

main()
