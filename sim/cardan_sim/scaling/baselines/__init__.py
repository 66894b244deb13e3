"""Published autoscalers, each faithful to its source and its defaults, to be compared with."""
