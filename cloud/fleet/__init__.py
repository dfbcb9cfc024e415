"""Fleets on one machine: a cloud and its agents as real processes, for the demo, the tutorial and the tests."""
