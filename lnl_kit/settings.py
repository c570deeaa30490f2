"""Settings of methods: see `lnl_kit.run.settings`."""

from .run.settings import COMPILES, KEEPS, PRECISIONS, Settings, field_help, make, parse, refuse

__all__ = ["COMPILES", "KEEPS", "PRECISIONS", "Settings", "field_help", "make", "parse", "refuse"]
