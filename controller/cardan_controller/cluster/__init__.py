"""What the API server knows of fleets: pods, scales, selectors. Pure: objects in, facts out."""
