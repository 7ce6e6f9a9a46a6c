"""The experiments of the DataInf paper (arXiv 2310.00902) and the questions that it leaves open.

`python -m experiments --help`; experiments/README.md says what is where.
"""
