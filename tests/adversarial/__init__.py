"""Traders who mean harm: each test says what stops them, or what bounds them, with numbers."""
