"""`python -m trainatlas`, for callers that know an interpreter but no path of commands."""

from trainatlas.cli import main

main()
