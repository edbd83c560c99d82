"""The care of an installation: what it measures, keeps, and says about itself."""
