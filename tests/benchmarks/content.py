"""The bytes that benchmarks move: the same in every process and every run.

Standard library only, because it also runs in a pod.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator

INCOMPRESSIBLE, OUTPUT = b"r", b"o"

# Far more than a compressor remembers (zlib 32 KiB, zstd's quick levels 1 MiB), so that repeating
# it does not help one.
_POOL = 8 << 20
_ROWS = 40
_SPECIES = ("Adelie", "Chinstrap", "Gentoo")
_ISLANDS = ("Biscoe", "Dream", "Torgersen")
_STATES = ("ok", "ok", "ok", "late", "missing")


def pieces(kind: bytes, size: int, block: int) -> Iterator[memoryview]:
    """``size`` bytes of a kind in pieces of at most ``block``."""
    pool = memoryview(pool_of(kind))
    at = 0
    while size:
        piece = pool[at : at + min(block, size)]
        yield piece
        size -= len(piece)
        at = (at + len(piece)) % len(pool)


@functools.cache
def pool_of(kind: bytes) -> bytes:
    """The bytes that are repeated.  Raises KeyError for a kind that there is not."""
    return {INCOMPRESSIBLE: _incompressible, OUTPUT: _output}[kind]()


def _incompressible() -> bytes:
    return random.Random(1).randbytes(_POOL)


def _output() -> bytes:
    """What a kernel says on iopub while a notebook shows tables, records and a log."""
    chance = random.Random(2)
    messages = bytearray()
    number = 0
    while len(messages) < _POOL:
        number += 1
        data, kind = (_table, _records, _log)[number % 3](chance), "display_data"
        if "name" in data:
            kind = "stream"
        header = {
            "msg_id": f"{chance.getrandbits(128):032x}_{number}",
            "msg_type": kind,
            "username": "jovyan",
            "session": "0b1c7a0e5f3d4f6c9d1e2a3b4c5d6e7f",
            "date": f"2026-03-01T09:{number // 60 % 60:02}:{number % 60:02}.{number:06}Z",
            "version": "5.4",
        }
        messages += json.dumps({"header": header, "metadata": {}, "content": data}).encode()
    return bytes(messages[:_POOL])


def _table(chance: random.Random) -> dict[str, object]:
    """A table as pandas shows one."""
    columns = ("species", "island", "bill_length_mm", "bill_depth_mm", "body_mass_g", "p")
    head = "".join(f"      <th>{name}</th>\n" for name in columns)
    opening = (
        '<div>\n<table border="1" class="dataframe">\n  <thead>\n'
        f'    <tr style="text-align: right;">\n      <th></th>\n{head}    </tr>\n  </thead>\n'
        "  <tbody>\n"
    )
    html = [opening]
    plain = ["    " + " ".join(f"{name:>15}" for name in columns)]
    for row in range(_ROWS):
        cells = (
            chance.choice(_SPECIES),
            chance.choice(_ISLANDS),
            f"{chance.gauss(44, 5):.1f}",
            f"{chance.gauss(17, 2):.1f}",
            f"{chance.gauss(4200, 800):.0f}",
            f"{chance.random():.6f}",
        )
        html.append(f"    <tr>\n      <th>{row}</th>\n")
        html += [f"      <td>{cell}</td>\n" for cell in cells]
        html.append("    </tr>\n")
        plain.append(f"{row:<4}" + " ".join(f"{cell:>15}" for cell in cells))
    html.append(f"  </tbody>\n</table>\n<p>{_ROWS} rows x {len(columns)} columns</p>\n</div>")
    return {
        "data": {"text/html": "".join(html), "text/plain": "\n".join(plain)},
        "metadata": {},
        "transient": {},
    }


def _records(chance: random.Random) -> dict[str, object]:
    """Rows as a chart's specification carries them."""
    values = []
    level = chance.uniform(5, 25)
    for row in range(_ROWS):
        level += chance.gauss(0, 0.3)
        values.append(
            {
                "timestamp": f"2026-02-{1 + row // 24:02}T{row % 24:02}:00:00",
                "station": f"north-{chance.randrange(20)}",
                "temperature": round(level, 2),
                "humidity": round(chance.uniform(30, 95), 1),
                "state": chance.choice(_STATES),
            }
        )
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "mark": {"type": "line"},
        "encoding": {
            "x": {"field": "timestamp", "type": "temporal"},
            "y": {"field": "temperature", "type": "quantitative"},
        },
        "data": {"values": values},
    }
    return {"data": {"application/vnd.vegalite.v5+json": spec}, "metadata": {}, "transient": {}}


def _log(chance: random.Random) -> dict[str, object]:
    """What a training loop prints."""
    loss = chance.uniform(0.3, 2.0)
    lines = []
    for step in range(_ROWS):
        loss *= chance.uniform(0.985, 1.005)
        lines.append(
            f"epoch {1 + step // 10:>3}/50  step {step:>5}  loss {loss:.5f}  "
            f"accuracy {1 - loss / 3:.4f}  {chance.uniform(90, 130):.1f} ms/step\n"
        )
    return {"name": "stdout", "text": "".join(lines)}
