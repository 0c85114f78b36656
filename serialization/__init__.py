"""What the scripts share: everything that is not the lesson itself."""

__version__ = "0.2.0.dev0"
