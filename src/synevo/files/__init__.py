"""Files and the arrays in them; a file is written whole or not at all."""
