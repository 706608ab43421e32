"""`python -m examples.cops.study`."""

from examples.cops.study.study import main

main()
