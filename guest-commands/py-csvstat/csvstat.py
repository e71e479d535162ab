"""`csvstat FILE` summarises the columns of a CSV file: how many values, and their range and mean, or how they differ.

The first row holds the names. The file lies in a directory that the operator has granted.
"""

import csv
import statistics
from collections.abc import Iterator

import wit_world
from componentize_py_types import Err
from wit_world.imports import connection


class WitWorld(wit_world.WitWorld):
    """What the host calls. The name is the one that componentize-py looks for."""

    def run(self, args: list[str]) -> None:
        if len(args) != 1:
            raise Err("usage: csvstat FILE")
        try:
            with open(args[0], newline="", encoding="utf-8", errors="replace") as file:
                summarise(csv.reader(file))
        except OSError as error:
            raise Err(f"{args[0]}: {error.strerror}") from None


def summarise(rows: Iterator[list[str]]) -> None:
    names = next(rows, None)
    if not names:
        raise Err("the file is empty")
    columns: list[list[str]] = [[] for _ in names]
    count = 0
    for row in rows:
        count += 1
        for column, cell in zip(columns, row):
            if cell.strip():
                column.append(cell.strip())
    reply(f"{count} rows, {len(names)} columns")
    width = max(len(name) for name in names)
    for name, column in zip(names, columns):
        reply(f"{name:<{width}}  {summary(column)}")


def summary(column: list[str]) -> str:
    """What there is to say of one column."""
    if not column:
        return "empty"
    try:
        numbers = [float(cell) for cell in column]
    except ValueError:
        return f"{len(column)} texts, {len(set(column))} different"
    low, high, mean = min(numbers), max(numbers), statistics.fmean(numbers)
    return f"{len(numbers)} numbers, from {low:g} to {high:g}, mean {mean:g}, median {statistics.median(numbers):g}"


def reply(line: str) -> None:
    connection.write(f"{line}\n".encode())
