"""What a run says to others: its API, what is sent there as it happens, metrics, places for events, alerts for people."""
