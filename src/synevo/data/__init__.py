"""Examples from embedded digits, TFDS, .npz files, folders, or a user's own task."""
