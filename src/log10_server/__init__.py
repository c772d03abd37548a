"""A self-hosted server for the Log10 API."""

__version__ = "0.2.0"
