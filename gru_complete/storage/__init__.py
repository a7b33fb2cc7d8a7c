"""Bytes that must not be lost, and bytes that cannot be trusted: durable writes, locks, strict reading."""
