"""Durations and sizes in words."""


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`; `?` for None."""
    if seconds is None:
        return "?"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def format_bytes(size: float) -> str:
    """`340 KiB`, `2.1 GiB`."""
    for unit in ("KiB", "MiB", "GiB"):  # noqa: B007
        size /= 1024
        if size < 1000:
            break
    else:
        size, unit = size / 1024, "TiB"
    return f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"
