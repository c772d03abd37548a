"""The self-hosted home for programs that speak the Log10 API."""

__version__ = "0.1.0"
