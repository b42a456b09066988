"""Every knob of a run: its fields, how a plan is composed, the presets and what was measured with them."""
