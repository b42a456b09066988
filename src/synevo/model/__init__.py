"""A network: its arrays, and the model that runs them."""
