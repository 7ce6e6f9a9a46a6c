"""A run's page, served to the browser of the machine it is on: for runs too large for one file, and
to ask new queries."""

from datainf.viewer.server import Server

__all__ = ["Server"]
