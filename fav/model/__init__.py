"""The style network: its layers, its files, and the devices and backends that run it."""
