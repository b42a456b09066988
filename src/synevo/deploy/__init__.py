"""A compacted network in use elsewhere: it is reloaded, classifies images, and is exported."""
