"""A signed apt repository and a folder of wheels, for the modules that make a mirror."""
