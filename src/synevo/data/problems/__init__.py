"""Problems of the built-in tasks, from files of every kind, and a user's own."""
