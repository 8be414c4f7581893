"""The compiled BPF objects, as package data: `make bpf` puts them here and a wheel carries them."""
