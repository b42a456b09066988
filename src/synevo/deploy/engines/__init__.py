"""Engines: the software that runs networks, each at a stated batch and number of threads; also the `synevo bench`."""
