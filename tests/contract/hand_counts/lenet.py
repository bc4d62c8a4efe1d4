from __future__ import annotations

COUNTS = {
    # Convolutions C1, C3 (computed as a dense one with zeros), C5 and the layer F6.
    "lenet5_1998": {"macs": 25 * 6 * 28**2 + 25 * 6 * 16 * 10**2 + 25 * 16 * 120 + 120 * 84},
}
