"""Fairlead, a Direct Server Return layer 4 load balancer: an XDP program forwards, this package decides where to."""
