"""Django's SQLite back end whose writers take turns; ``ENGINE`` names this package."""
