"""What the chart's values may be (the schema) and what each is for (the reference page)."""
