"""Scenes that the project draws itself: what is in them, their picture, and what a person would say of it.

`compose` decides what a scene holds, `paint` draws it and measures where every object came to lie, `describe` puts the
measured picture into words. Nothing is said that the picture does not show.
"""
