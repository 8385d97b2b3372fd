"""Four paintings of this project's own, made by program: a charcoal drawing, a woodcut, a watercolor, a stained glass.

`python -m fav.synthetic.paintings DIRECTORY` writes them as JPEGs. `charcoal`, `woodcut`, `watercolor` and `stained_glass`
draw one each with the tools of `marks`; `album` names them. The same call gives the same pixels.
"""
