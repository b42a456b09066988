"""Tasks: the inputs, the loss and the score of a network."""
