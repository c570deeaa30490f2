"""What the papers print, as data: their tables, the presets made from them, our runs beside them."""
