"""What "make compare" and "make bench" have measured, for the scripts that show it."""

import json
import statistics

KERNELS = ("stock", "patched", "patched-elsewhere", "patched-here")

# One figure over another: at most so much.
RATIOS = (
    ("going by a marked page / a mlocked one", "compaction_passes_marked",
     "compaction_passes_unevictable", 3.0),
    ("marking 1 GiB / pinning it", "mark_1g", "pin_1g", 1 / 20),
)

# Metrics of unprotected memory in the same runs
CONTROL = "unprotected: "


class Cell:
    """All runs of one figure with one rival."""

    def __init__(self):
        self.values, self.of, self.unit, self.missing = [], [], "", []

    def add(self, entry):
        """One line of the file."""
        if "missing" in entry:
            self.missing.append(entry["missing"])
            return
        self.values.append(entry["value"])
        self.unit = entry["unit"]
        if "of" in entry:
            self.of.append(entry["of"])

    def text(self):
        """For a table."""
        if not self.values:
            return "-"
        low, high = min(self.values), max(self.values)
        text = number(statistics.median(self.values))
        if number(low) != number(high):
            text += f" ({number(low)}..{number(high)})"
        return text


def number(value):
    """Short, but no digit less than counts have."""
    if value >= 1e7:
        return f"{value / 1e6:.0f}M"
    if value >= 1e5:
        return f"{value / 1e3:.0f}k"
    return f"{value:.0f}"


class Results:
    """The file: cells by section, thing measured, metric and rival."""

    def __init__(self, path):
        self.cells, self.rivals, self.rows, self.reasons = {}, [], [], {}
        with open(path, encoding="utf-8") as lines:
            self.made = json.loads(next(lines))
            entries = [json.loads(line) for line in lines]
        for entry in entries:
            if entry["rival"] not in self.rivals:
                self.rivals.append(entry["rival"])
        for entry in entries:
            # The same thing is another one on another machine.
            entry["what"] = (entry["arch"], entry["what"])
            if "missing" in entry:
                key = entry["section"], entry["what"], entry["rival"]
                self.reasons.setdefault(key, []).append(entry["missing"])
                continue
            row = entry["section"], entry["what"], entry["metric"]
            if row not in self.rows:
                self.rows.append(row)
            self.cells.setdefault(row + (entry["rival"],), Cell()).add(entry)

    def cell(self, section, what, metric, rival):
        """What was measured; an empty cell if nothing was."""
        return self.cells.get((section, what, metric, rival)) or Cell()

    def metrics(self, section):
        """The metrics of a section, without those of unprotected memory."""
        found = dict.fromkeys(metric for s, _, metric in self.rows if s == section)
        return [metric for metric in found if not metric.startswith(CONTROL)]

    def whats(self, section, metric=None):
        """What was measured in a section, even if no rival has a figure."""
        found = dict.fromkeys(what for s, what, m in self.rows
                              if s == section and metric in (None, m))
        if metric is None:
            found.update(dict.fromkeys(what for s, what, _ in self.reasons if s == section))
        return list(found)

    def stopped(self, section, what, rival):
        """Whether the mover was stopped for everybody, by the settings of the rival."""
        moved = self.cell(section, what, CONTROL + "moved", rival)
        broken = self.cell(section, what, CONTROL + "mappings broken", rival)
        return bool(broken.values) and 2 * statistics.median(broken.values) < max(moved.of)


def share_of(cells):
    """Of how many, in words: the same for all, or a range."""
    ofs = [of for cell in cells for of in cell.of]
    if not ofs:
        return ""
    return f" of {min(ofs)}" if min(ofs) == max(ofs) else f" of {min(ofs)}..{max(ofs)}"


def table(rows, header):
    """Rows of cells, aligned."""
    widths = [max(len(row[i]) for row in rows + [header]) for i in range(len(header))]
    lines = []
    for row in [header] + rows:
        lines.append("  ".join([row[0].ljust(widths[0])] +
                               [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]))
    return "\n".join(lines)


def total(results, section, metric, rival):
    """Sum over all things of a section: the figure, of how many; None if nothing is known."""
    value = of = 0
    known = False
    for what in results.whats(section, metric):
        cell = results.cell(section, what, metric, rival)
        if cell.values and what[0] == results.whats(section, metric)[0][0]:
            known = True
            value += statistics.median(cell.values)
            of += max(cell.of, default=0)
    return (value, of) if known else None


def summary(results):
    """One row per rival: the columns that README.md and the cover letter have."""
    def share(section, metric, rival):
        """Of all things of the section, in percent."""
        both = total(results, section, metric, rival)
        return "-" if both is None or not both[1] else f"{100 * both[0] / both[1]:.0f} %"

    def one(section, what, metric, rival):
        """One figure, on whatever machine."""
        for where in results.whats(section, metric):
            if where[1] == what:
                return results.cell(section, where, metric, rival)
        return Cell()

    rows = []
    for rival in results.rivals:
        pages = one("fragmentation", "25 % protected", "huge pages allocated", rival)
        rows.append([rival,
                     share("movers", "moved", rival),
                     one("device", "streaming", "I/O page faults", rival).text(),
                     share("forced", "succeeded", rival),
                     pages.text() + share_of([pages]),
                     share("neighbour", "its pages moved", rival),
                     one("costs", "64 MiB", "protect", rival).text()])
    return rows


def load(path):
    """How it was made, {(kernel, benchmark): {run: values}}, {benchmark: unit}, in order."""
    values, units = {}, {}
    with open(path, encoding="utf-8") as lines:
        made = json.loads(next(lines))
        for line in lines:
            entry = json.loads(line)
            key = entry["kernel"], entry["benchmark"]
            values.setdefault(key, {}).setdefault(entry["run"], []).extend(entry["values"])
            units[entry["benchmark"]] = entry["unit"]
    return made, values, units


def figure(values, kernel, benchmark):
    """The median of all values, or None."""
    runs = values.get((kernel, benchmark))
    return runs and statistics.median(value for run in runs.values() for value in run)


def against(base, value):
    """The difference in percent, or None."""
    return None if base is None or value is None else 100 * (value / base - 1)
