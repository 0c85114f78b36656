"""What the scripts share: everything that is not the lesson itself."""
