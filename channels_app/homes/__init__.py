"""Homes of people: import and export of trees, and the bundle with which one leaves."""
