"""A network: arrays that know how they run."""
