"""Tasks of the benchmarks that take a given time and note their turns."""


class Turns:
    """A task whose calls take so many seconds; each turn is noted as (name, calls, cold)."""

    def __init__(self, name, seconds, turns):
        self.name, self.seconds, self.turns = name, seconds, turns

    def turn(self, calls, cold):
        self.turns.append((self.name, calls, cold))
        return [self.seconds] * calls
