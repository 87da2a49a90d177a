"""Whether what an endpoint is asked about is still like what its models were tested on."""
