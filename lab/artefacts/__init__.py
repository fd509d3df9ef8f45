"""Packages that the lab's mirror holds, under the vendors' names and with their layout.

Made from what package registries ship, for a lab has no way to the vendors' own repositories. The
kit ships none of them. Where a registry is out of reach, an engine is left out and the reason said.
"""
