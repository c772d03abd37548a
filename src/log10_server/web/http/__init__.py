"""What every dialect shares: authentication, routing, reading of requests, writing of answers and refusals."""
