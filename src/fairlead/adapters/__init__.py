"""One module for each outside thing: the kernel, the network, peers, probes, HTTP, the log. No decisions in here."""
