"""`make bench`: what a packet, a table and a pass cost. See bench/RESULTS.md for the method and the last figures."""
