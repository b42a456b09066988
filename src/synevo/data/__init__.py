"""Examples from everywhere: embedded digits, TFDS, .npz files, folders."""
