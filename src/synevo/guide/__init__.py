"""Pages of help that ship with the package: `synevo guide TOPIC` shows them."""
