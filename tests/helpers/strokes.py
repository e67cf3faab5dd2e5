"""Digits of MNIST as strokes of a pen: the middle line of the ink, followed from end to end."""

from __future__ import annotations

import numpy as np

#: The eight neighbours of a pixel (row, column), around it, from the one above.
AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def strokes_of(pixels, ink=100):
    """Lists of points (x, y) in pixels, for an image uint8 (28, 28)."""
    line = {tuple(map(int, place)) for place in np.argwhere(thinned(pixels >= ink))}
    left, strokes = set(line), []
    while left:
        ends = [place for place in left if len(neighbours(place, left)) == 1]
        path = [min(ends or left)]
        left.discard(path[0])
        while found := neighbours(path[-1], left):
            path.append(min(found, key=lambda place: turn(path, place)))
            left.discard(path[-1])
        joined = [*before(path[0], strokes), *path, *before(path[-1], strokes)]
        strokes.append(joined)
    long = [path for path in strokes if len(path) > 2] or strokes
    # every third pixel will do: lines are drawn between them
    return [[(column + 0.5, row + 0.5) for row, column in (*path[:-1:3], path[-1])] for path in long]


def thinned(mask):
    """The middle line, one pixel wide (Zhang, Suen, "A fast parallel algorithm for thinning digital patterns")."""
    mask = np.pad(mask, 1)
    while True:
        before = mask.copy()
        for first in (True, False):
            p = [np.roll(mask, (-y, -x), (0, 1)) for y, x in AROUND]
            count = np.sum(p, axis=0)
            rises = sum(~p[i] & p[(i + 1) % 8] for i in range(8))
            n, e, s, w = p[0], p[2], p[4], p[6]
            open_ = ~(n & e & s) & ~(e & s & w) if first else ~(n & e & w) & ~(n & s & w)
            mask = mask & ~((count >= 2) & (count <= 6) & (rises == 1) & open_)
        if (mask == before).all():
            return mask[1:-1, 1:-1]


def neighbours(place, among):
    return [near for y, x in AROUND if (near := (place[0] + y, place[1] + x)) in among]


def turn(path, place):
    """How far a path would turn, and how far it would jump, at its end."""
    step = np.subtract(place, path[-1])
    straight = 0 if len(path) < 2 else -float(step @ np.subtract(path[-1], path[max(0, len(path) - 4)]))
    return straight, float(np.abs(step).sum())


def before(place, strokes):
    """The point of an earlier stroke that this place touches, if there is one."""
    return neighbours(place, {point for path in strokes for point in path})[:1]
