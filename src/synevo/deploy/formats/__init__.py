"""The formats of exported networks, one module each."""
