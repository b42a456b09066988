"""A compacted network in use elsewhere: reloaded, asked, exported."""
