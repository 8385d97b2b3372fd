"""Four paintings of this project's own, made by program: a charcoal drawing, a woodcut, a watercolor, a stained glass.

`python -m fav.synthetic.paintings DIRECTORY` writes them as JPEGs. Each of four modules draws one; the same call gives the
same pixels.
"""
