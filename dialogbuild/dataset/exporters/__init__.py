"""A dataset in the formats of other programs: one file per format, all of them in ``registry.FORMATS``."""
