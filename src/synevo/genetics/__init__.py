"""The paper: the genetic encoding, its environment, and who survives."""
