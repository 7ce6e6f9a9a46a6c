"""python -m datainf."""

from datainf.cli import main

main()
