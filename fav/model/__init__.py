"""The style network: its layers, its files, the devices and backends that run it."""
