"""The gateway process: OpenAI HTTP and gRPC front doors over the pure core."""
