"""Fakes with one home: a scriptable engine, a raw client, a gateway in this process, a clock."""
