"""What runs beside the requests: reader and writer lanes, the background fill of the ungraded index, CPU affinity."""
