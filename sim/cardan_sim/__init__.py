"""The simulation shell: believable engines, trace replay and the demo, without a GPU."""
