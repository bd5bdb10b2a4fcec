"""Measurements, as ratios between interleaved runs; `make test` does not run them."""
