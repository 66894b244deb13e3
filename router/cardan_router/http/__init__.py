"""The HTTP front door: raw protocols on the event loop (`docs/decisions/0004-raw-protocols.md`)."""
